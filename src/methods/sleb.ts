import { type Layer, layersOf } from '../model/layers.ts'
import type { Model } from '../model/model.ts'
import { emptyPlan } from '../model/plan.ts'
import type { BlockId, Objective, PruningPlan } from '../types.ts'
import { greedy, greedyPasses } from './greedy.ts'
import { defineMethod, type LoopOptions, type Steps } from './method.ts'
import { checkWholeLayers, mayGo } from './units.ts'

export const method = defineMethod({
  name: 'sleb',
  role: 'method',
  title: 'SLEB',
  paper: 'arXiv:2402.09025',
  unit: 'layer',
  cost: 'l passes a step, greedy',
  note: 'keeps the first and the last layer of each stack',
  options: {},
  takesLayers: () => true,
  passes: ({ blocks, layers, steps }) => greedyPasses(layers, Math.ceil((steps * layers) / Math.max(1, blocks))),
  removable({ model, start, kinds, keep }) {
    checkWholeLayers('sleb', kinds)
    return mayGo(innerLayers(model, emptyPlan), { start, keep }).flat()
  },
  run: ({ model, objective, ...context }) => sleb(model, objective, context),
})

/**
 * SLEB (arXiv:2402.09025; code jiwonsong-dev/SLEB): BlockPruner's greedy loop over whole layers,
 *
 *     P ← ∅;  repeat  l* = argmin over l ∉ P, not the first or last layer left, of NLL(M without P ∪ {l}),  P ← P ∪ {l*}
 *
 * Strict <, the first of equals wins. The authors rank by the summed loss; with rows of equal length its mean has the same order.
 * Yields until only the first and the last layer of each stack are left.
 */
export function sleb(model: Model, objective: Objective, options: LoopOptions = {}): Steps {
  return greedy(objective, (plan) => mayGo(innerLayers(model, plan), options), options)
}

/** Of the layers that `plan` leaves, as blocks, all but the first and the last of each stack. */
function innerLayers(model: Model, plan: PruningPlan): BlockId[][] {
  const left = layersOf(model).filter(({ blocks }) => !blocks.every(({ id }) => plan.blocks.includes(id)))
  const isInner = (layer: Layer) => {
    const own = left.filter(({ stack }) => stack === layer.stack)
    return layer !== own[0] && layer !== own.at(-1)
  }
  return left.filter(isInner).map(({ blocks }) => blocks.map(({ id }) => id))
}
