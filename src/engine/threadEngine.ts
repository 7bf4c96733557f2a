import { Worker } from 'node:worker_threads'
import type { DeviceChoice } from '../deviceNames.ts'
import * as errors from '../errors.ts'
import type { Engine, Following, Measurement, RowsId } from '../measures/measurement.ts'
import type { MeasureName, Measures } from '../measures/registry.ts'
import type { Model } from '../model/model.ts'
import type { PruningPlan, TokenRows } from '../types.ts'
import { freeMemory, planMemory } from './memory.ts'
import { rowsIdOf } from './rowsStore.ts'

export interface EngineOptions {
  /** Threads inside one operation; default: the physical cores. */
  readonly threads?: number | undefined
  /** What it computes on, default the CPU; any other is compared with the CPU first, and refused where it differs. */
  readonly device?: DeviceChoice | undefined
  /** `chooseDevice` compared the device with the CPU already. */
  readonly isDeviceTested?: boolean | undefined
  /** Bytes that weights and states may take, see `planMemory`; default: what is free, less a margin. */
  readonly maxMemory?: number | undefined
  /** The folder where states are put aside when they do not fit; default the system's for temporary files. */
  readonly spillFolder?: string | undefined
}

/** The options of an engine among those of a request. */
export function engineOptionsOf({
  threads,
  device,
  isDeviceTested,
  maxMemory,
  spillFolder,
}: EngineOptions): EngineOptions {
  return { threads, device, isDeviceTested, maxMemory, spillFolder }
}

/** What the worker thread is started with: enough to open the model again. */
export interface WorkerData {
  readonly id: string
  readonly path: string
  readonly applied: readonly PruningPlan[]
  readonly options: EngineOptions
  /** One more than the number of the call to abort. */
  readonly abortFlag: Int32Array
}

export type EngineRequest =
  | { readonly type: 'rows'; readonly id: RowsId; readonly rows: TokenRows }
  | { readonly type: 'measure'; readonly call: number; readonly what: Measurement }

export type EngineResponse =
  | { readonly type: 'rows'; readonly call: number; readonly plan: number; readonly values: Float64Array }
  | { readonly type: 'result'; readonly call: number; readonly result: unknown }
  | {
      readonly type: 'failure'
      readonly call: number
      readonly name: string
      readonly message: string
      readonly stack: string | undefined
    }

/**
 * An engine for `model` in a worker thread. A pass blocks the thread it runs in, so this keeps progress, journals and signals of the
 * caller alive. The worker opens the model again by its path and holds the weights.
 */
export function openEngine(model: Model, options: EngineOptions = {}): Engine {
  const { maxMemory = freeMemory() } = options
  // refused here and now, not at the first measurement
  planMemory(model, maxMemory)
  const abortFlag = new Int32Array(new SharedArrayBuffer(4))
  const workerData: WorkerData = {
    id: model.id,
    path: model.path,
    applied: model.applied,
    options: { ...options, maxMemory },
    abortFlag,
  }
  const worker = new Worker(workerUrl, { workerData })
  const calls = new Map<number, Call>()
  const known = new Set<RowsId>()
  let nextCall = 0
  let failure: Error | undefined

  worker.on('message', (response: EngineResponse) => {
    const call = calls.get(response.call)
    if (call === undefined) return
    if (response.type === 'rows') return call.onRows?.(response.plan, response.values)
    calls.delete(response.call)
    if (response.type === 'failure') call.reject(revive(response))
    else call.resolve(response.result)
  })
  const fail = (error: Error) => {
    failure = error
    for (const call of calls.values()) call.reject(error)
    calls.clear()
  }
  worker.on('error', (cause) => fail(new errors.EngineError(`the engine's thread failed: ${cause.message}`, { cause })))
  worker.on('exit', () => fail(new errors.EngineError('the engine is closed')))
  const post = (request: EngineRequest) => worker.postMessage(request)

  return {
    async put(rows) {
      if (failure !== undefined) throw failure
      const id = rowsIdOf(rows)
      if (!known.has(id)) post({ type: 'rows', id, rows })
      known.add(id)
      return id
    },
    measure<M extends MeasureName>(what: Measurement<M>, { signal, onRows }: Following = {}) {
      return new Promise<Measures[M]['result'][]>((resolve, reject) => {
        if (failure !== undefined) return reject(failure)
        signal?.throwIfAborted()
        const call = nextCall++
        // the worker cannot receive messages while it computes, so an abort goes through shared memory
        const abort = () => Atomics.store(abortFlag, 0, call + 1)
        signal?.addEventListener('abort', abort)
        const settle = () => signal?.removeEventListener('abort', abort)
        calls.set(call, {
          onRows,
          resolve(result) {
            settle()
            resolve(result as Measures[M]['result'][])
          },
          reject(error) {
            settle()
            reject(error)
          },
        })
        post({ type: 'measure', call, what: what as unknown as Measurement })
      })
    },
    async close() {
      await worker.terminate()
    },
  }
}

interface Call {
  readonly onRows: Following['onRows']
  resolve(result: unknown): void
  reject(error: Error): void
}

// under a test runner this file is TypeScript, which a worker thread of Node 20 cannot load: use the build
const workerUrl = new URL(
  import.meta.url.endsWith('.ts') ? '../../dist/engine/worker.js' : './worker.js',
  import.meta.url,
)

/** The error of the worker as the class it was thrown as. */
function revive({ name, message, stack }: Extract<EngineResponse, { type: 'failure' }>): Error {
  if (name === 'AbortError') return new DOMException(message, name)
  const known = Object.entries(errors).find(([className]) => className === name)?.[1] as
    | (new (
        m: string,
      ) => Error)
    | undefined
  const error = known === undefined ? new errors.EngineError(message) : new known(message)
  if (stack !== undefined) error.stack = stack
  return error
}
