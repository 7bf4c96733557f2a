import { setFlagsFromString } from 'node:v8'
import { Worker } from 'node:worker_threads'
import * as errors from '../errors.ts'
import type { Model } from '../model/model.ts'
import type { Engine, TokenLossOptions, TokenRows } from '../types.ts'
import type { EngineRequest, EngineResponse, WorkerData } from './protocol.ts'

export interface EngineOptions {
  /** Threads inside one operation; default: the physical cores. */
  readonly threads?: number | undefined
}

/**
 * The forward passes of `model` in a worker thread. A pass blocks the thread it runs in, so this keeps progress, journals and
 * signals of the caller alive. The worker opens the model again by its path and holds the weights. V8's concurrent marking is off in
 * the process from here on.
 */
export function openEngine(model: Model, { threads }: EngineOptions = {}): Engine {
  // every result of the runtime counts as garbage to come, and the threads that mark it took an eighth of a small model's pass (BART, 4 x 128)
  setFlagsFromString('--no-concurrent-marking')
  const abortFlag = new Int32Array(new SharedArrayBuffer(4))
  const workerData: WorkerData = { id: model.id, path: model.path, applied: model.applied, threads, abortFlag }
  const worker = new Worker(workerUrl, { workerData })
  const calls = new Map<number, Call>()
  const rowNumbers = new WeakMap<TokenRows, number>()
  let nextCall = 0
  let nextRows = 0
  let failure: Error | undefined

  worker.on('message', (response: EngineResponse) => {
    const call = calls.get(response.call)
    if (call === undefined) return
    if (response.type === 'losses') return call.onLosses?.(response.plan, response.losses)
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

  function send<Result>(
    request: (call: number, rows: number) => EngineRequest,
    rows: TokenRows,
    options: TokenLossOptions = {},
  ) {
    return new Promise<Result>((resolve, reject) => {
      if (failure !== undefined) return reject(failure)
      options.signal?.throwIfAborted()
      let number = rowNumbers.get(rows)
      if (number === undefined) {
        number = nextRows++
        rowNumbers.set(rows, number)
        worker.postMessage({ type: 'rows', call: -1, number, rows } satisfies EngineRequest)
      }
      const call = nextCall++
      // the worker cannot receive messages while it computes, so an abort goes through shared memory
      const abort = () => Atomics.store(abortFlag, 0, call + 1)
      options.signal?.addEventListener('abort', abort)
      const settle = () => options.signal?.removeEventListener('abort', abort)
      calls.set(call, {
        onLosses: options.onLosses,
        resolve(result) {
          settle()
          resolve(result as Result)
        },
        reject(error) {
          settle()
          reject(error)
        },
      })
      worker.postMessage(request(call, number))
    })
  }

  return {
    tokenLosses: (rows, plans, options = {}) =>
      send(
        (call, number) => ({
          type: 'tokenLosses',
          call,
          rows: number,
          plans,
          ignored: options.ignored,
          trunk: options.trunk,
          arithmetic: options.arithmetic,
        }),
        rows,
        options,
      ),
    hiddenDistances: (rows, plans, options) =>
      send(
        (call, number) => ({ type: 'hiddenDistances', call, rows: number, plans, measure: options.measure }),
        rows,
        options,
      ),
    outputDistances: (rows, plans, options) =>
      send(
        (call, number) => ({
          type: 'outputDistances',
          call,
          rows: number,
          plans,
          measure: options.measure,
          topK: options.topK,
          trunk: options.trunk,
        }),
        rows,
        options,
      ),
    similarities: (rows, spans, { measure, signal }) =>
      send((call, number) => ({ type: 'similarities', call, rows: number, spans, measure }), rows, { signal }),
    channelStatistics: (rows, blocks, { signal } = {}) =>
      send((call, number) => ({ type: 'channelStatistics', call, rows: number, blocks }), rows, { signal }),
    passSeconds: (rows, plans, { repeats, signal }) =>
      send((call, number) => ({ type: 'passSeconds', call, rows: number, plans, repeats }), rows, { signal }),
    hiddenStates: (rows, plan) => send((call, number) => ({ type: 'hiddenStates', call, rows: number, plan }), rows),
    logits: (rows, plan) => send((call, number) => ({ type: 'logits', call, rows: number, plan }), rows),
    firstNonFinite: (rows) => send((call, number) => ({ type: 'firstNonFinite', call, rows: number }), rows),
    async close() {
      await worker.terminate()
    },
  }
}

interface Call {
  readonly onLosses: TokenLossOptions['onLosses']
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
