import type { Engine } from '../measures/measurement.ts'
import type { Model } from '../model/model.ts'
import type { BlockKind, Objective, PruningStep, StopSignal, TokenRows } from '../types.ts'
import { shortGpt } from './shortGpt.ts'

export interface LlmDropOptions {
  /** Kinds of blocks that may go: attention and mlp, the paper's joint drop, or one of them; default both. */
  readonly kinds?: readonly BlockKind[] | undefined
  readonly signal?: StopSignal | undefined
}

/**
 * LLM-Drop (arXiv:2406.15786; code CASE-Lab-UMD/LLM-Drop): block influence of single branches,
 *
 *     S_b = 1 - mean over tokens of cos( x, x + f_b(norm(x)) ),
 *
 * attention and mlp in one list ("joint layer drop"), the lowest first. One forward pass.
 */
export async function* llmDrop(
  model: Model,
  objective: Objective,
  engine: Engine,
  rows: TokenRows,
  options: LlmDropOptions = {},
): AsyncGenerator<PruningStep, void> {
  yield* shortGpt(model, objective, engine, rows, { ...options, unit: 'block' })
}
