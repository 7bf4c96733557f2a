import type { Model } from '../model/model.ts'
import type { BlockId, Objective } from '../types.ts'
import { defineMethod, type LoopOptions, type Steps } from './method.ts'
import { removeInOrder } from './removeInOrder.ts'
import { checkWholeLayers, mayGo, wholeLayers } from './units.ts'

export const method = defineMethod({
  name: 'drop-tail',
  role: 'method',
  title: 'Drop the last layers',
  paper: 'arXiv:2411.15558',
  unit: 'layer',
  cost: 'none',
  options: {
    'keep-last': { type: 'number', from: 0, to: 1000, whole: true, default: 0, says: 'last layers that stay' },
  },
  removable({ model, ...scope }, { 'keep-last': keepLast }) {
    checkWholeLayers('drop-tail', scope.kinds)
    return mayGo(tailLayers(model, keepLast), scope).flat()
  },
  run: ({ model, objective, ...context }, { 'keep-last': keepLast }) =>
    dropTail(model, objective, { ...context, keepLast }),
})

export interface DropTailOptions extends LoopOptions {
  /** Last layers that stay; default 0. One is the simple variant of arXiv:2403.17887. */
  readonly keepLast?: number | undefined
}

/**
 * The last layers go, the deepest first, whatever they do: the baseline that "Reassessing Layer Pruning in LLMs"
 * (arXiv:2411.15558) finds as good as elaborate metrics once the model is retrained.
 */
export function dropTail(
  model: Model,
  objective: Objective,
  { keepLast = 0, ...options }: DropTailOptions = {},
): Steps {
  const layers = mayGo(tailLayers(model, keepLast), options)
  return removeInOrder(
    objective,
    layers.map((blocks, score) => ({ blocks, score })),
    options,
  )
}

/** The layers but the last `keepLast`, the deepest first, as blocks. */
function tailLayers(model: Model, keepLast: number): BlockId[][] {
  return wholeLayers(model).toReversed().slice(keepLast)
}
