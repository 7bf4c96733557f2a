import type { Engine, OutputDistance, RowObjective, TokenRows } from '../types.ts'
import { rowRanges } from './rowRanges.ts'

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
  measure: OutputDistance = 'js',
  { topK }: { readonly topK?: number | undefined } = {},
): RowObjective {
  const part = rowRanges(rows)
  const combine = (values: Float64Array) => values.reduce((total, value) => total + value, 0) / values.length
  return {
    measure: topK === undefined ? measure : `${measure} top ${topK}`,
    unit: units[measure],
    rows: rows.rows,
    combine,
    async evaluate(plans, signal) {
      return (await this.evaluateRows(plans, { signal })).map((values) => combine(values))
    },
    evaluateRows: (plans, { range = [0, rows.rows] as const, trunk, signal, onRows } = {}) =>
      engine.outputDistances(part(range), plans, { measure, topK, trunk, signal, onLosses: onRows }),
  }
}

const units: Record<OutputDistance, string> = {
  js: 'nats of divergence per token',
  kl: 'nats of divergence per token',
  angular: 'half turns between logits',
  euclidean: 'logits',
  js_reversed: 'nats of divergence per token and word',
  official_kl: 'nats of divergence per token and word',
  official_angular: 'radians between logits',
  official_norm: 'logits per row',
}
