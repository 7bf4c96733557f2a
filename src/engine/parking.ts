import type { Device } from '../device/device.ts'
import { openSpillFile, type SpillFile } from '../format/spillFile.ts'
import type { State } from '../measures/machine.ts'
import type { Lifetimes } from './lifetimes.ts'

/** Where final hidden states wait on disk: beside the weights of a head there may be no room for all of them. */
export interface Parking {
  /** Puts a state aside, which it owns from here on; the result brings its hidden states back, with an owner. */
  park(state: State): Promise<() => Promise<State>>
  /** Forgets what was put aside. */
  clear(): Promise<void>
  close(): Promise<void>
}

/** Parking in a file in `folder`, made when it is first needed. */
export function parkingIn(folder: string, device: Device, lifetimes: Lifetimes): Parking {
  let spill: Promise<SpillFile> | undefined
  /** Whether the memory of what was parked was given back. */
  let isTrimmed = false
  return {
    async park(state) {
      spill ??= openSpillFile(folder)
      const file = await spill
      const parts: { readonly position: number; readonly length: number; readonly dims: readonly number[] }[] = []
      for (const { hidden } of state) {
        const values = (await device.read(hidden!)) as Float32Array
        parts.push({ position: await file.write(values), length: values.length, dims: hidden!.dims })
      }
      lifetimes.release(state)
      isTrimmed = false
      return async () => {
        // all are parked now: the memory they had makes room for the head
        if (!isTrimmed) giveBack(device)
        isTrimmed = true
        const brought: State = await Promise.all(
          parts.map(async ({ position, length, dims }) => ({
            hidden: device.upload('float32', await file.read(position, length), dims),
          })),
        )
        lifetimes.retain(brought)
        return brought
      }
    },
    async clear() {
      if (spill !== undefined) (await spill).clear()
    },
    async close() {
      if (spill !== undefined) await (await spill).close()
    },
  }
}

/** Gives memory that nobody reads any more back to the system, as far as the program lets us ask V8 for it. */
export function giveBack(device: Device): void {
  device.trim()
  globalThis.gc?.()
}
