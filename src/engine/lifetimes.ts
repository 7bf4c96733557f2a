import type { Device, Handle } from '../device/device.ts'
import type { State } from '../measures/machine.ts'

/** Counts the owners of the tensors of states, and frees on the device what has none left. */
export interface Lifetimes {
  retain(state: State): void
  release(state: State): void
  /** Tensors that have an owner. */
  readonly alive: number
}

/** Owners of tensors on `device`. */
export function lifetimesOn(device: Device): Lifetimes {
  const owners = new Map<Handle, number>()
  return {
    retain(state) {
      for (const tensors of state) {
        for (const handle of Object.values(tensors)) owners.set(handle, (owners.get(handle) ?? 0) + 1)
      }
    },
    release(state) {
      for (const tensors of state) {
        for (const handle of Object.values(tensors)) {
          const left = (owners.get(handle) ?? 0) - 1
          if (left > 0) {
            owners.set(handle, left)
            continue
          }
          owners.delete(handle)
          device.free(handle)
        }
      }
    },
    get alive() {
      return owners.size
    },
  }
}
