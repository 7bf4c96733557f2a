import type { Engine } from '../measures/measurement.ts'
import { emptyPlan } from '../model/plan.ts'
import { type Task, taskLosses } from '../model/task.ts'
import { hiddenDistanceObjective } from '../objectives/hiddenDistance.ts'
import type { PruningPlan, StopSignal, TokenRows } from '../types.ts'
import { type EmbeddingReport, measureEmbeddings, type Sentences } from './embeddings.ts'
import { measurePerplexity, type PerplexityReport } from './perplexity.ts'

/** How a pruned model does beside the dense one, by what the model is scored by. `pruned` is undefined without a plan. */
export type Comparison =
  | { readonly task: 'nextToken'; readonly dense: PerplexityReport; readonly pruned: PerplexityReport | undefined }
  | { readonly task: PredictionTask; readonly dense: LossReport; readonly pruned: LossReport | undefined }
  | { readonly task: 'hiddenStates'; readonly pruned: HiddenStateReport }

/** The tasks of a head that predicts something other than the next token. */
export type PredictionTask = Exclude<Task, 'nextToken' | 'hiddenStates'>

/** How well a model predicts masked tokens, the targets of its decoder, or classes. */
export interface LossReport {
  /** Mean loss of a prediction. */
  readonly loss: number
  /** What it counts: `nats per masked token`. */
  readonly unit: string
  /** Standard error of the mean over rows; NaN for a single row. */
  readonly standardError: number
  readonly predictions: number
  readonly rows: number
  readonly rowLength: number
}

/** How far the hidden states of a model without a head have moved from the dense model's. */
export interface HiddenStateReport {
  /** 1 - cosine, the mean over rows of the mean over tokens. */
  readonly distance: number
  /** Standard error of the mean over rows; NaN for a single row. */
  readonly standardError: number
  readonly rows: number
  readonly rowLength: number
  /** Of encoders. */
  readonly embeddings?: EmbeddingReport | undefined
}

/**
 * Measures the model without what `plan` removes, and the dense one, on rows that were prepared for `task`; `sentences`, rows of one
 * sentence each, are for encoders that are scored by their hidden states. Such a model can only be measured with a plan: without
 * one there is nothing to compare, and this throws `RangeError`.
 */
export async function compare(
  engine: Engine,
  rows: TokenRows,
  task: Task,
  plan: PruningPlan | undefined,
  { sentences, signal }: { readonly sentences?: Sentences | undefined; readonly signal?: StopSignal | undefined } = {},
): Promise<Comparison> {
  if (task === 'hiddenStates') {
    if (plan === undefined) throw new RangeError('hidden states are compared with those of a plan')
    const embeddings = sentences && (await measureEmbeddings(engine, sentences, plan, signal))
    return { task, pruned: { ...(await distanceOf(engine, rows, plan, signal)), ...(embeddings && { embeddings }) } }
  }
  const measure = (of: PruningPlan) => measurePerplexity(engine, rows, of, signal)
  const [dense, pruned] = [await measure(emptyPlan), plan && (await measure(plan))]
  if (task === 'nextToken') return { task, dense, pruned }
  return { task, dense: lossReport(task, dense), pruned: pruned && lossReport(task, pruned) }
}

function lossReport(task: PredictionTask, report: PerplexityReport): LossReport {
  const { natsPerToken: loss, standardError, predictedTokens: predictions, rows, rowLength } = report
  return { loss, unit: taskLosses[task].unit, standardError, predictions, rows, rowLength }
}

async function distanceOf(
  engine: Engine,
  rows: TokenRows,
  plan: PruningPlan,
  signal: StopSignal | undefined,
): Promise<HiddenStateReport> {
  const objective = hiddenDistanceObjective(engine, rows)
  const [distances] = await objective.evaluateRows([plan], { signal })
  const distance = objective.combine(distances!)
  const variance = distances!.reduce((total, value) => total + (value - distance) ** 2, 0) / (rows.rows - 1)
  return { distance, standardError: Math.sqrt(variance / rows.rows), rows: rows.rows, rowLength: rows.rowLength }
}
