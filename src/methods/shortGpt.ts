import type { Engine } from '../measures/measurement.ts'
import { kindsOf } from '../model/kinds.ts'
import type { Model } from '../model/model.ts'
import type { BlockKind, Objective, PruningStep, StopSignal, TokenRows } from '../types.ts'
import { removeInOrder } from './removeInOrder.ts'
import { spanSimilarities } from './spanSimilarities.ts'
import { type Unit, unitsOf } from './units.ts'

export interface ShortGptOptions {
  /** Whole layers, as in the paper, or blocks of `kinds`. */
  readonly unit?: Unit | undefined
  readonly kinds?: readonly BlockKind[] | undefined
  readonly signal?: StopSignal | undefined
}

/**
 * ShortGPT (arXiv:2403.03853): the layers that turn the hidden states least go first, all scored in one forward pass.
 *
 *     block influence  BI_l = 1 - mean over tokens of cos( x_l, x_{l+1} ),  x_l the input of layer l
 *
 * One reimplementation takes negative cosines as 0; here they count as they are.
 */
export async function* shortGpt(
  model: Model,
  objective: Objective,
  engine: Engine,
  rows: TokenRows,
  { unit = 'layer', kinds = kindsOf(model), signal }: ShortGptOptions = {},
): AsyncGenerator<PruningStep, void> {
  const groups = unitsOf(model, unit, kinds)
  const spans = groups.map((blocks) => [blocks[0]!, blocks.at(-1)!] as const)
  const cosines = await spanSimilarities(engine, rows, { spans, by: 'cosine' }, signal)
  const influences = cosines.map((values) => 1 - values.reduce((total, value) => total + value, 0) / values.length)
  yield* removeInOrder(
    objective,
    groups.map((blocks, i) => ({ blocks, score: influences[i]! })),
    signal,
  )
}
