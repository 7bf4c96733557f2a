import { kindsOf } from '../model/kinds.ts'
import type { Model } from '../model/model.ts'
import type { BlockKind, Objective, PruningStep, StopSignal } from '../types.ts'
import { removeInOrder } from './removeInOrder.ts'
import { type Unit, unitsOf } from './units.ts'
import { weightSums } from './weightSums.ts'

export interface MagnitudeOptions {
  readonly unit?: Unit | undefined
  /** Kinds of blocks that may go, where blocks do; default all that the model has. */
  readonly kinds?: readonly BlockKind[] | undefined
  /** Σ|w|, or its mean, which does not put small blocks before large ones; default mean. */
  readonly reduction?: 'sum' | 'mean' | undefined
  readonly signal?: StopSignal | undefined
}

/** The smallest weights go first: I = Σ|w| / n or Σ|w| of a block or layer. No text is read to choose. A baseline of many papers. */
export async function* magnitude(
  model: Model,
  objective: Objective,
  { unit = 'block', kinds = kindsOf(model), reduction = 'mean', signal }: MagnitudeOptions = {},
): AsyncGenerator<PruningStep, void> {
  const groups = unitsOf(model, unit, kinds)
  const sums = await weightSums(model, groups)
  const ranking = groups.map((blocks, i) => {
    const { sum, count } = sums[i]!
    return { blocks, score: reduction === 'sum' ? sum : sum / count }
  })
  yield* removeInOrder(objective, ranking, signal)
}
