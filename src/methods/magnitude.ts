import type { Model } from '../model/model.ts'
import type { Objective } from '../types.ts'
import { defineMethod, type LoopOptions, type Steps } from './method.ts'
import { removeInOrder } from './removeInOrder.ts'
import { removableByUnit, type Unit, unitOption, unitsOf } from './units.ts'
import { weightSums } from './weightSums.ts'

export const method = defineMethod({
  name: 'magnitude',
  role: 'method',
  title: 'Magnitude',
  unit: 'block or layer',
  cost: 'none',
  options: {
    unit: unitOption('block'),
    reduction: {
      type: 'choice',
      choices: ['mean', 'sum'],
      default: 'mean',
      says: 'of the absolute weights of a block or layer',
    },
  },
  takesLayers: ({ unit }) => unit === 'layer',
  removable: removableByUnit('magnitude'),
  run: ({ model, objective, ...context }, options) => magnitude(model, objective, { ...context, ...options }),
})

export interface MagnitudeOptions extends LoopOptions {
  readonly unit?: Unit | undefined
  /** Σ|w|, or its mean, which does not put small blocks before large ones; default mean. */
  readonly reduction?: 'sum' | 'mean' | undefined
}

/** The smallest weights go first: I = Σ|w| / n or Σ|w| of a block or layer. No text is read to choose. A baseline of many papers. */
export async function* magnitude(
  model: Model,
  objective: Objective,
  { unit = 'block', reduction = 'mean', ...options }: MagnitudeOptions = {},
): Steps {
  const groups = unitsOf(model, unit, options)
  const sums = await weightSums(model, groups)
  const ranking = groups.map((blocks, i) => {
    const { sum, count } = sums[i]!
    return { blocks, score: reduction === 'sum' ? sum : sum / count }
  })
  yield* removeInOrder(objective, ranking, options)
}
