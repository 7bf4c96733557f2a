import { kindsOf } from '../model/kinds.ts'
import type { Model } from '../model/model.ts'
import { Random } from '../tensor/random.ts'
import type { BlockKind, Objective, PruningStep, StopSignal } from '../types.ts'
import { removeInOrder } from './removeInOrder.ts'
import { type Unit, unitsOf } from './units.ts'

export interface RandomRemovalOptions {
  readonly unit?: Unit | undefined
  /** Kinds of blocks that may go, where blocks do; default all that the model has. */
  readonly kinds?: readonly BlockKind[] | undefined
  readonly seed: number
  readonly signal?: StopSignal | undefined
}

/** Blocks or layers in random order, all orders equally likely: what every method must beat. Same seed, same order. */
export async function* randomRemoval(
  model: Model,
  objective: Objective,
  { unit = 'block', kinds = kindsOf(model), seed, signal }: RandomRemovalOptions,
): AsyncGenerator<PruningStep, void> {
  const shuffled = new Random(seed).shuffle(unitsOf(model, unit, kinds))
  yield* removeInOrder(
    objective,
    shuffled.map((blocks, score) => ({ blocks, score })),
    signal,
  )
}
