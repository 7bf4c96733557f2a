import { parentPort, workerData } from 'node:worker_threads'
import type { Engine } from '../measures/measurement.ts'
import { applyPlan } from '../model/applyPlan.ts'
import { openModel } from '../model/load.ts'
import type { StopSignal } from '../types.ts'
import { openLocalEngine } from './localEngine.ts'
import type { EngineRequest, EngineResponse, WorkerData } from './threadEngine.ts'

/** The worker thread of `threadEngine.ts`: opens the model again and answers one request after the other. */
const { id, path, applied, options, abortFlag } = workerData as WorkerData
const port = parentPort!
let opened: Promise<Engine> | undefined
let queue: Promise<void> = Promise.resolve()
const unopened: Extract<EngineRequest, { type: 'rows' }>[] = []

port.on('message', (request: EngineRequest) => {
  queue = queue.then(() => answer(request))
})

async function answer(request: EngineRequest): Promise<void> {
  // a model that cannot be opened is reported to who asks something of it
  if (request.type === 'rows') return void unopened.push(request)
  const { call, what } = request
  const respond = (response: EngineResponse) => port.postMessage(response)
  try {
    opened ??= openModel(id, path).then((model) => openLocalEngine(applied.reduce(applyPlan, model), options))
    const engine = await opened
    for (const { rows } of unopened.splice(0)) await engine.put(rows)
    const onRows = (plan: number, values: Float64Array) => respond({ type: 'rows', call, plan, values })
    respond({ type: 'result', call, result: await engine.measure(what, { signal: flagSignal(call), onRows }) })
  } catch (error) {
    const { name, message, stack } = error as Error
    respond({ type: 'failure', call, name, message, stack })
  }
}

/** A signal that reads the shared flag when asked: this thread receives no events while it computes. */
function flagSignal(call: number): StopSignal {
  const { signal } = new AbortController()
  signal.throwIfAborted = () => {
    if (Atomics.load(abortFlag, 0) === call + 1) throw new DOMException('The evaluation was aborted', 'AbortError')
  }
  return signal
}
