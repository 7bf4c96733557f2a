import { testedOptions } from '../engine/chooseDevice.ts'
import { type EngineOptions, openEngine } from '../engine/threadEngine.ts'
import { EngineError, PlanError } from '../errors.ts'
import { type Comparison, compare } from '../evaluate/compare.ts'
import { firstNonFinite } from '../evaluate/nonFinite.ts'
import type { Engine } from '../measures/measurement.ts'
import { loadModel } from '../model/load.ts'
import type { Model } from '../model/model.ts'
import { removedParameters } from '../model/plan.ts'
import type { PruningPlan, StopSignal, TokenRows } from '../types.ts'
import { type RowsRequest, readRows, readSentences, taskOf } from './calibrate.ts'
import { openPlan, planFor } from './givenPlan.ts'
import { isHeldOut } from './heldOut.ts'
import { type ReadyPrompts, readyPrompts, type Samples, sample } from './samples.ts'

export interface EvaluateRequest extends EngineOptions {
  readonly model: string
  readonly revision?: string | undefined
  /** plan.json of a run, its folder, or a plan written by hand; the dense model is measured beside it. */
  readonly plan?: string | undefined
  readonly steps?: number | undefined
  readonly allowOtherModel?: boolean | undefined
  /** Without a task: the plan's, else what the head predicts. */
  readonly rows: RowsRequest
  /** Sample continuations of a decoder, dense beside the plan's, 0 to 5; default 0. */
  readonly continuations?: number | undefined
  /** Called with a line about the device, where it is not the CPU that was asked for. */
  readonly onDevice?: ((text: string) => void) | undefined
  readonly signal?: StopSignal | undefined
}

/** Dense and pruned model on a text, by what the model is scored by. */
export type EvaluateResult = Comparison & {
  readonly source: string
  readonly bos: 'none' | 'first' | 'every-row'
  /** What the rows predict, where it is not the next token. */
  readonly prediction?: string | undefined
  /**
   * False when the text shares passages with the plan's calibration text; undefined without a plan, or when that text was too short or
   * too repetitive to tell.
   */
  readonly heldOut: boolean | undefined
  readonly parameters: { readonly dense: number; readonly pruned: number | undefined }
  readonly samples?: Samples | undefined
}

/**
 * Measures a model, and a plan's model beside it, on a text: perplexities, the loss of what its head predicts, or, without a head,
 * how far its hidden states and sentence embeddings moved. The last needs a plan; throws `PlanError` without one.
 */
export async function evaluateModel(request: EvaluateRequest): Promise<EvaluateResult> {
  const { signal } = request
  const given = request.plan === undefined ? undefined : await openPlan(request.plan)
  const model = await loadModel(request.model, { revision: request.revision })
  const engineOptions = await testedOptions(model, request, request.onDevice)
  const engine = openEngine(model, engineOptions)
  try {
    const plan = given && (await planFor(model, given, request))
    const file = given?.file
    // a plan is measured by what it was searched by
    const asked: RowsRequest = { ...request.rows, task: request.rows.task ?? file?.task }
    const task = taskOf(model, asked.task)
    if (task === 'hiddenStates' && plan === undefined) {
      throw new PlanError(
        `${model.id}: is scored by how far its hidden states move from the dense model's, which needs a pruned model; give --plan`,
      )
    }
    const prompts = await promptsFor(model, plan, request)
    const rows = await readRows(model, asked)
    const sentences = await readSentences(model, asked)
    const { source, bos, prediction } = rows.description
    const comparison = await compare(engine, rows, task, plan, { sentences, signal })
    await refuseNonFinite(model, engine, rows, comparison)
    return {
      source,
      bos,
      ...(prediction !== undefined && { prediction }),
      heldOut: file && isHeldOut(file, rows),
      ...comparison,
      parameters: { dense: model.parameters, pruned: plan && model.parameters - removedParameters(model, plan) },
      ...(plan && prompts && { samples: await sample(model, engine, plan, prompts, { signal }) }),
    }
  } finally {
    await engine.close()
    await model.weights.close()
  }
}

/** Throws `PlanError` where samples are asked for without a plan beside which they could stand. */
async function promptsFor(
  model: Model,
  plan: PruningPlan | undefined,
  { continuations = 0 }: EvaluateRequest,
): Promise<ReadyPrompts | undefined> {
  if (continuations === 0 || plan !== undefined) return readyPrompts(model, continuations)
  throw new PlanError(`--continuations ${continuations}: shows the dense model beside a pruned one; give --plan`)
}

/** Throws `EngineError` where a loss is no number: it is nobody's score. */
async function refuseNonFinite(model: Model, engine: Engine, rows: TokenRows, comparison: Comparison): Promise<void> {
  const [dense, pruned] = lossesOf(comparison)
  if (Number.isFinite(dense) && Number.isFinite(pruned)) return
  if (Number.isFinite(dense)) {
    throw new EngineError(
      `${model.id}: the loss of the plan is ${pruned}, expected a finite number; leave more in the model`,
    )
  }
  const where = await firstNonFinite(engine, rows)
  throw new EngineError(
    `${model.id}: the loss of the dense model is ${dense}, expected a finite number; the first non-finite values come out of ${where}; is the checkpoint damaged?`,
  )
}

function lossesOf(comparison: Comparison): readonly [dense: number, pruned: number] {
  if (comparison.task === 'hiddenStates') return [0, comparison.pruned.distance]
  if (comparison.task !== 'nextToken') return [comparison.dense.loss, comparison.pruned?.loss ?? 0]
  return [comparison.dense.natsPerToken, comparison.pruned?.natsPerToken ?? 0]
}
