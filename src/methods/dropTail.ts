import { layersOf } from '../model/layers.ts'
import type { Model } from '../model/model.ts'
import type { BlockId, Objective, PruningStep, StopSignal } from '../types.ts'
import { removeInOrder } from './removeInOrder.ts'

export interface DropTailOptions {
  /** Last layers that stay; default 0. One is the simple variant of arXiv:2403.17887. */
  readonly keepLast?: number | undefined
  readonly signal?: StopSignal | undefined
}

/**
 * The last layers go, the deepest first, whatever they do: the baseline that "Reassessing Layer Pruning in LLMs"
 * (arXiv:2411.15558) finds as good as elaborate metrics once the model is retrained.
 */
export async function* dropTail(
  model: Model,
  objective: Objective,
  { keepLast = 0, signal }: DropTailOptions = {},
): AsyncGenerator<PruningStep, void> {
  const ranking = tailLayers(model, keepLast).map((blocks, score) => ({ blocks, score }))
  yield* removeInOrder(objective, ranking, signal)
}

/** The layers but the last `keepLast`, the deepest first, as blocks. */
export function tailLayers(model: Model, keepLast: number): BlockId[][] {
  const layers = layersOf(model).map(({ blocks }) => blocks.map(({ id }) => id))
  return layers.toReversed().slice(keepLast)
}
