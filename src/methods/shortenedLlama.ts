import { layersOf } from '../model/layers.ts'
import type { Model } from '../model/model.ts'
import { emptyPlan } from '../model/plan.ts'
import type { BlockId, Objective, PruningStep, StopSignal } from '../types.ts'
import { removeInOrder } from './removeInOrder.ts'
import { withoutBlocks } from './units.ts'
import { weightSums } from './weightSums.ts'

export interface ShortenedLlamaOptions {
  readonly criterion?: 'ppl' | 'magnitude' | undefined
  /** The "+" rule: layers 0 to 3 and the last two never go; default on, as in the released code for every criterion. */
  readonly plus?: boolean | undefined
  readonly signal?: StopSignal | undefined
}

/**
 * Shortened LLaMA (arXiv:2402.02834; code Nota-NetsPresso/shortened-llm): every layer is scored once, the lowest goes first.
 *
 *     ppl        I_l = log of the token-pooled perplexity without layer l, Σ nll / Σ tokens
 *     magnitude  I_l = Σ over the matrices and norm scales of layer l of Σ |w|
 *
 * `pooled` is the objective that averages over tokens; with rows of equal length it is the same as over rows. Yields whole layers.
 */
export async function* shortenedLlama(
  model: Model,
  objective: Objective,
  pooled: Objective,
  { criterion = 'ppl', plus = true, signal }: ShortenedLlamaOptions = {},
): AsyncGenerator<PruningStep, void> {
  const layers = removableLayers(model, plus)
  const scores =
    criterion === 'magnitude'
      ? (await weightSums(model, layers)).map(({ sum }) => sum)
      : await pooled.evaluate(
          layers.map((blocks) => withoutBlocks(emptyPlan, blocks)),
          signal,
        )
  yield* removeInOrder(
    objective,
    layers.map((blocks, i) => ({ blocks, score: scores[i]! })),
    signal,
  )
}

/** The layers that may go, as blocks: with the "+" rule not the first four and the last two of a stack. */
export function removableLayers(model: Model, plus: boolean): BlockId[][] {
  const layers = layersOf(model)
  return layers
    .filter(({ stack, layer }) => {
      const own = layers.filter((other) => other.stack === stack)
      return !plus || (layer >= 4 && own.indexOf(own.find((other) => other.layer === layer)!) < own.length - 2)
    })
    .map(({ blocks }) => blocks.map(({ id }) => id))
}
