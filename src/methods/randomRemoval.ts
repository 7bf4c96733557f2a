import type { Model } from '../model/model.ts'
import { Random } from '../tensor/random.ts'
import type { Objective } from '../types.ts'
import { defineMethod, type LoopOptions, type Steps } from './method.ts'
import { removeInOrder } from './removeInOrder.ts'
import { removableByUnit, type Unit, unitOption, unitsOf } from './units.ts'

export const method = defineMethod({
  name: 'random',
  role: 'method',
  title: 'Random removal',
  unit: 'block or layer',
  cost: 'none',
  options: { unit: unitOption('block') },
  takesLayers: ({ unit }) => unit === 'layer',
  removable: removableByUnit('random'),
  run: ({ model, objective, ...context }, options) => randomRemoval(model, objective, { ...context, ...options }),
})

export interface RandomRemovalOptions extends LoopOptions {
  readonly unit?: Unit | undefined
  readonly seed: number
}

/** Blocks or layers in random order, all orders equally likely: what every method must beat. Same seed, same order. */
export async function* randomRemoval(
  model: Model,
  objective: Objective,
  { unit = 'block', seed, ...options }: RandomRemovalOptions,
): Steps {
  const shuffled = new Random(seed).shuffle(unitsOf(model, unit, options))
  const ranking = shuffled.map((blocks, score) => ({ blocks, score }))
  yield* removeInOrder(objective, ranking, options)
}
