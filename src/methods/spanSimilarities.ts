import { type Engine, measureOn } from '../measures/measurement.ts'
import type { SimilarityOptions } from '../measures/similarity.ts'
import { emptyPlan } from '../model/plan.ts'
import type { StopSignal, TokenRows } from '../types.ts'

/** For each span of the dense model, how alike the hidden states before and after it are in each row: one forward pass. */
export async function spanSimilarities(
  engine: Engine,
  rows: TokenRows,
  asked: SimilarityOptions,
  signal: StopSignal | undefined,
): Promise<Float64Array[]> {
  const measure = { name: 'similarity', ...asked } as const
  const [similarities] = await measureOn(engine, rows, { plans: [emptyPlan], measure }, { signal })
  return similarities!
}
