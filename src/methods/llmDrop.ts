import type { Engine } from '../measures/measurement.ts'
import type { Model } from '../model/model.ts'
import type { Objective, TokenRows } from '../types.ts'
import { defineMethod, type LoopOptions, type Steps } from './method.ts'
import { shortGpt } from './shortGpt.ts'
import { singleRemovable } from './units.ts'

export const method = defineMethod({
  name: 'llm-drop',
  role: 'method',
  title: 'LLM-Drop',
  paper: 'arXiv:2406.15786',
  unit: 'block',
  cost: '1 pass, one shot',
  options: {},
  removable: singleRemovable,
  run: ({ model, objective, engine, rows, ...context }) => llmDrop(model, objective, engine, rows, context),
})

/**
 * LLM-Drop (arXiv:2406.15786; code CASE-Lab-UMD/LLM-Drop): block influence of single branches,
 *
 *     S_b = 1 - mean over tokens of cos( x, x + f_b(norm(x)) ),
 *
 * attention and mlp in one list ("joint layer drop"), the lowest first; or one of the kinds. One forward pass.
 */
export function llmDrop(
  model: Model,
  objective: Objective,
  engine: Engine,
  rows: TokenRows,
  options: LoopOptions = {},
): Steps {
  return shortGpt(model, objective, engine, rows, { ...options, unit: 'block' })
}
