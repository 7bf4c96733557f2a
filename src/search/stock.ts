import type { Steps } from '../methods/method.ts'
import type { Model } from '../model/model.ts'
import type { Objective, PruningPlan, PruningStep, StopSignal } from '../types.ts'
import { adjacentBlocks, type Moves, movesWithin, wholeLayers } from './candidates.ts'

export interface StockOptions {
  /** The search among plans made of these moves. */
  readonly search: (moves: Moves) => Steps
  readonly isReached: (plan: PruningPlan) => boolean
  /** Whether the checkpoint that a plan leaves is stock in all else too; default yes. */
  readonly isStock?: ((plan: PruningPlan) => boolean) | undefined
  readonly signal?: StopSignal | undefined
}

/**
 * Only plans whose result is a stock checkpoint: its survivors alternate attention, mlp, attention, mlp …, so that an attention
 * and the mlp behind it make one layer though they come from two. Greedy on neighbours of the surviving sequence removes whole
 * layers as well, yet may end worse than greedy on whole layers alone; so
 *
 *     both run to the budget, and the one with the lower loss on `check` is yielded, neighbours where they are equal.
 *
 * `check` should be rows that neither saw: then the choice is never worse than whole layers by more than what those rows err.
 */
export async function* stock(
  model: Model,
  check: Objective,
  { search, isReached, isStock = () => true, signal }: StockOptions,
): Steps {
  const neighbours = await untilReached(search(movesWithin(adjacentBlocks(model), isStock)), isReached)
  const layers = await untilReached(search(movesWithin(wholeLayers(model), isStock)), isReached)
  const plans = [neighbours, layers].map((steps) => steps.at(-1)?.plan).filter((plan) => plan !== undefined)
  const [ofNeighbours = Number.NaN, ofLayers = Number.NaN] = await check.evaluate(plans, signal)
  yield* ofLayers < ofNeighbours ? layers : neighbours
}

/** All steps of a search, up to the first that reaches the budget unless the search goes on improving at it. */
async function untilReached(steps: Steps, isReached: StockOptions['isReached']): Promise<PruningStep[]> {
  const taken: PruningStep[] = []
  for await (const step of steps) {
    taken.push(step)
    const isImprovement = step.restored !== undefined
    if (isReached(step.plan) && !isImprovement) break
  }
  return taken
}
