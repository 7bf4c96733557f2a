import type { Engine } from '../measures/measurement.ts'
import type { Model } from '../model/model.ts'
import type { Objective, TokenRows } from '../types.ts'
import { defineMethod, type LoopOptions, type Steps } from './method.ts'
import { removeInOrder } from './removeInOrder.ts'
import { spanSimilarities } from './spanSimilarities.ts'
import { removableByUnit, type Unit, unitOption, unitsOf } from './units.ts'

export const method = defineMethod({
  name: 'shortgpt',
  role: 'method',
  title: 'ShortGPT',
  paper: 'arXiv:2403.03853',
  unit: 'layer or block',
  cost: '1 pass, one shot',
  options: { unit: unitOption('layer') },
  takesLayers: ({ unit }) => unit === 'layer',
  removable: removableByUnit('shortgpt'),
  run: ({ model, objective, engine, rows, ...context }, options) =>
    shortGpt(model, objective, engine, rows, { ...context, ...options }),
})

export interface ShortGptOptions extends LoopOptions {
  /** Whole layers, as in the paper, or blocks of `kinds`. */
  readonly unit?: Unit | undefined
}

/**
 * ShortGPT (arXiv:2403.03853): the layers that turn the hidden states least go first, all scored in one forward pass.
 *
 *     block influence  BI_l = 1 - mean over tokens of cos( x_l, x_{l+1} ),  x_l the input of layer l
 *
 * One reimplementation takes negative cosines as 0; here they count as they are.
 */
export async function* shortGpt(
  model: Model,
  objective: Objective,
  engine: Engine,
  rows: TokenRows,
  { unit = 'layer', ...options }: ShortGptOptions = {},
): Steps {
  const groups = unitsOf(model, unit, options)
  const spans = groups.map((blocks) => [blocks[0]!, blocks.at(-1)!] as const)
  const cosines = await spanSimilarities(engine, rows, { spans, by: 'cosine' }, options.signal)
  const influences = cosines.map((values) => 1 - values.reduce((total, value) => total + value, 0) / values.length)
  const ranking = groups.map((blocks, i) => ({ blocks, score: influences[i]! }))
  yield* removeInOrder(objective, ranking, options)
}
