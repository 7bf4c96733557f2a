import { parentPort, workerData } from 'node:worker_threads'
import { applyPlan } from '../model/applyPlan.ts'
import { openModel } from '../model/load.ts'
import type { Engine, StopSignal, TokenRows } from '../types.ts'
import { openForward } from './forward.ts'
import type { EngineRequest, EngineResponse, WorkerData } from './protocol.ts'

/** The worker thread of `engine.ts`: opens the model again and answers one request after the other. */
const { id, path, applied, threads, abortFlag } = workerData as WorkerData
const port = parentPort!
const rows = new Map<number, TokenRows>()
let opened: Promise<Engine> | undefined
let queue: Promise<void> = Promise.resolve()

port.on('message', (request: EngineRequest) => {
  queue = queue.then(() => answer(request))
})

async function answer(request: EngineRequest): Promise<void> {
  if (request.type === 'rows') {
    rows.set(request.number, request.rows)
    return
  }
  const respond = (response: EngineResponse) => port.postMessage(response)
  try {
    opened ??= openModel(id, path).then((model) => openForward(applied.reduce(applyPlan, model), { threads }))
    respond({ type: 'result', call: request.call, result: await resultOf(await opened, request, respond) })
  } catch (error) {
    const { name, message, stack } = error as Error
    respond({ type: 'failure', call: request.call, name, message, stack })
  }
}

function resultOf(
  engine: Engine,
  request: Exclude<EngineRequest, { type: 'rows' }>,
  respond: (response: EngineResponse) => void,
): Promise<unknown> {
  const input = rows.get(request.rows)!
  const signal = flagSignal(request.call)
  const onLosses = (plan: number, losses: Float64Array) => respond({ type: 'losses', call: request.call, plan, losses })
  const reporting = { signal, onLosses }
  switch (request.type) {
    case 'tokenLosses':
      return engine.tokenLosses(input, request.plans, {
        ignored: request.ignored,
        trunk: request.trunk,
        arithmetic: request.arithmetic,
        ...reporting,
      })
    case 'hiddenDistances':
      return engine.hiddenDistances(input, request.plans, {
        measure: request.measure,
        ...reporting,
      })
    case 'outputDistances':
      return engine.outputDistances(input, request.plans, {
        measure: request.measure,
        topK: request.topK,
        trunk: request.trunk,
        ...reporting,
      })
    case 'similarities':
      return engine.similarities(input, request.spans, {
        measure: request.measure,
        signal,
      })
    case 'channelStatistics':
      return engine.channelStatistics(input, request.blocks, { signal })
    case 'passSeconds':
      return engine.passSeconds(input, request.plans, { repeats: request.repeats, signal })
    case 'hiddenStates':
      return engine.hiddenStates(input, request.plan)
    case 'logits':
      return engine.logits(input, request.plan)
    case 'firstNonFinite':
      return engine.firstNonFinite(input)
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
