import type { Model } from '../model/model.ts'
import type { Objective } from '../types.ts'
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
  note: 'with --keep-last 1 it is the simple variant of arXiv:2403.17887',
  options: {},
  takesLayers: () => true,
  removable({ model, ...scope }) {
    checkWholeLayers('drop-tail', scope.kinds)
    return mayGo(wholeLayers(model), scope).flat()
  },
  run: ({ model, objective, ...context }) => dropTail(model, objective, context),
})

/**
 * The last layers go, the deepest first, whatever they do: the baseline that "Reassessing Layer Pruning in LLMs"
 * (arXiv:2411.15558) finds as good as elaborate metrics once the model is retrained.
 */
export function dropTail(model: Model, objective: Objective, options: LoopOptions = {}): Steps {
  const layers = mayGo(wholeLayers(model).toReversed(), options)
  return removeInOrder(
    objective,
    layers.map((blocks, score) => ({ blocks, score })),
    options,
  )
}
