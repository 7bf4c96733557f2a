import { tmpdir } from 'node:os'
import { cpuDevice } from '../device/cpu.ts'
import type { AttentionKernel } from '../graph/attention.ts'
import type { Measure } from '../measures/machine.ts'
import type { Engine, Following, Measurement } from '../measures/measurement.ts'
import { type MeasureName, type Measures, measures } from '../measures/registry.ts'
import type { Model } from '../model/model.ts'
import { openMachine } from './machine.ts'
import { planMemory } from './memory.ts'
import { rowsIdOf, rowsStore } from './rowsStore.ts'

export interface LocalEngineOptions {
  /** Threads inside one operation; undefined: the physical cores. */
  readonly threads?: number | undefined
  readonly kernel?: Exclude<AttentionKernel, 'cached' | 'cachedPrimitives'> | undefined
  /** Bytes that weights and states may take; default: as much as they need. */
  readonly maxMemory?: number | undefined
  /** The folder where states are put aside when they do not fit; default the system's for temporary files. */
  readonly spillFolder?: string | undefined
}

/** The engine in the calling thread, which its passes block; `openEngine` is the same behind a worker thread. */
export function openLocalEngine(
  model: Model,
  { threads, kernel, maxMemory = Number.POSITIVE_INFINITY, spillFolder = tmpdir() }: LocalEngineOptions = {},
): Engine {
  const device = cpuDevice({ threads })
  const machine = openMachine(model, { device, kernel, memory: planMemory(model, maxMemory), spillFolder })
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
      const { measure } = measures[name] as Measure<unknown, Measures[M]['result']>
      return measure(machine, { rows: store.get(rows, range), plans, prefix, options, signal, onRows })
    },
    async close() {
      await machine.close()
      await device.close()
    },
  }
}
