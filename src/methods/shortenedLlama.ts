import { layersOf } from '../model/layers.ts'
import type { Model } from '../model/model.ts'
import { emptyPlan } from '../model/plan.ts'
import { withoutBlocks } from '../search/candidates.ts'
import type { BlockId, Objective } from '../types.ts'
import { defineMethod, type LoopOptions, type Steps } from './method.ts'
import { removeInOrder } from './removeInOrder.ts'
import { checkWholeLayers, mayGo } from './units.ts'
import { weightSums } from './weightSums.ts'

export const method = defineMethod({
  name: 'shortened-llama',
  role: 'method',
  title: 'Shortened LLaMA',
  paper: 'arXiv:2402.02834',
  unit: 'layer',
  cost: 'l passes, one shot (magnitude: none)',
  note: 'keeps layers 0 to 3 and the last two of each stack, unless --no-plus is given',
  options: {
    criterion: {
      type: 'choice',
      choices: ['ppl', 'magnitude'],
      default: 'ppl',
      says: 'what a layer is scored by: perplexity without it, or its weights',
    },
    plus: { type: 'flag', default: true, says: 'let layers 0 to 3 and the last two go as well' },
  },
  takesLayers: () => true,
  removable({ model, ...scope }, { plus }) {
    checkWholeLayers('shortened-llama', scope.kinds)
    return mayGo(removableLayers(model, plus), scope).flat()
  },
  run: ({ model, objective, pooled, ...context }, options) =>
    shortenedLlama(model, objective, pooled, { ...context, ...options }),
})

export interface ShortenedLlamaOptions extends LoopOptions {
  readonly criterion?: 'ppl' | 'magnitude' | undefined
  /** The "+" rule: layers 0 to 3 and the last two never go; default on, as in the released code for every criterion. */
  readonly plus?: boolean | undefined
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
  { criterion = 'ppl', plus = true, ...options }: ShortenedLlamaOptions = {},
): Steps {
  const { start = emptyPlan, signal } = options
  const layers = mayGo(removableLayers(model, plus), options)
  const scores =
    criterion === 'magnitude'
      ? (await weightSums(model, layers)).map(({ sum }) => sum)
      : await pooled.evaluate(
          layers.map((blocks) => withoutBlocks(start, blocks)),
          signal,
        )
  const ranking = layers.map((blocks, i) => ({ blocks, score: scores[i]! }))
  yield* removeInOrder(objective, ranking, options)
}

/** The layers that may go, as blocks: with the "+" rule not the first four and the last two of a stack. */
function removableLayers(model: Model, plus: boolean): BlockId[][] {
  const layers = layersOf(model)
  return layers
    .filter(({ stack, layer }) => {
      const own = layers.filter((other) => other.stack === stack)
      return !plus || (layer >= 4 && own.indexOf(own.find((other) => other.layer === layer)!) < own.length - 2)
    })
    .map(({ blocks }) => blocks.map(({ id }) => id))
}
