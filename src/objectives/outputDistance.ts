import type { OutputDistance } from '../measures/distanceRecipes.ts'
import type { Engine } from '../measures/measurement.ts'
import type { RowObjective, TokenRows } from '../types.ts'
import { rowObjective } from './rowObjective.ts'

/**
 * How far the predictions move from the dense model's, the mean over rows; a row's value is the mean over its tokens. 0 for the
 * dense model itself. FinerCut (arXiv:2405.18218); `kl` is EvoPress's fitness (arXiv:2410.14649). `js_reversed` and `official_*`
 * are what FinerCut's released code computes. Memory: rows · T · D · 4 bytes for the dense model's final hidden states, and some
 * 16 MB of logits at a time, each also in float64, whatever the calibration; the price is a second head for every plan. With
 * `topK` words told apart, rows · T · k · 12 bytes for those of the dense model and one head for every plan.
 */
export function distanceObjective(
  engine: Engine,
  rows: TokenRows,
  by: OutputDistance = 'js',
  { topK }: { readonly topK?: number | undefined } = {},
): RowObjective {
  return rowObjective(engine, rows, { name: 'outputDistance', by, topK })
}
