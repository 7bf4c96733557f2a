import { tmpdir } from 'node:os'
import type { Device } from '../device/device.ts'
import { openDevice } from '../device/open.ts'
import type { DeviceChoice } from '../deviceNames.ts'
import type { AttentionKernel } from '../graph/attention.ts'
import type { Machine, Measure } from '../measures/machine.ts'
import type { Engine, Following, Measurement } from '../measures/measurement.ts'
import { type MeasureName, type Measures, measures } from '../measures/registry.ts'
import type { Model } from '../model/model.ts'
import { chooseDevice } from './chooseDevice.ts'
import { openMachine } from './machine.ts'
import { planMemory } from './memory.ts'
import { rowsIdOf, rowsStore } from './rowsStore.ts'

export interface LocalEngineOptions {
  /** Threads inside one operation; undefined: the physical cores. */
  readonly threads?: number | undefined
  readonly kernel?: Exclude<AttentionKernel, 'cached' | 'cachedPrimitives'> | undefined
  /** What it computes on, default the CPU; any other is compared with the CPU first. */
  readonly device?: DeviceChoice | undefined
  /** `chooseDevice` compared the device with the CPU already. */
  readonly isDeviceTested?: boolean | undefined
  /** Bytes that weights and states may take; default: as much as they need. */
  readonly maxMemory?: number | undefined
  /** The folder where states are put aside when they do not fit; default the system's for temporary files. */
  readonly spillFolder?: string | undefined
}

/** The engine in the calling thread, which its passes block; `openEngine` is the same behind a worker thread. */
export function openLocalEngine(
  model: Model,
  {
    threads,
    kernel,
    device: choice = 'cpu',
    isDeviceTested = false,
    maxMemory = Number.POSITIVE_INFINITY,
    spillFolder = tmpdir(),
  }: LocalEngineOptions = {},
): Engine {
  const memory = planMemory(model, maxMemory)
  let opened: Promise<{ device: Device; machine: Machine }> | undefined
  const open = async () => {
    const name = isDeviceTested && choice !== 'auto' ? choice : (await chooseDevice(model, choice, threads)).device
    const device = await openDevice(name, { threads })
    return { device, machine: openMachine(model, { device, kernel, memory, spillFolder }) }
  }
  const store = rowsStore()
  return {
    async put(rows) {
      const id = rowsIdOf(rows)
      if (!store.has(id)) store.put(id, rows)
      return id
    },
    async measure<M extends MeasureName>(
      { rows, range, plans, prefix, measure: { name, ...options } }: Measurement<M>,
      { signal, onRows }: Following = {},
    ) {
      signal?.throwIfAborted()
      opened ??= open()
      const { machine } = await opened
      const { measure } = measures[name] as Measure<unknown, Measures[M]['result']>
      return measure(machine, { rows: store.get(rows, range), plans, prefix, options, signal, onRows })
    },
    async close() {
      // a device that could not be opened was reported to who asked something of it
      const made = await opened?.catch(() => undefined)
      await made?.machine.close()
      await made?.device.close()
    },
  }
}
