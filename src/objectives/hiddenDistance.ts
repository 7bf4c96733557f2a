import type { Engine, HiddenDistanceOptions, RowObjective, TokenRows } from '../types.ts'
import { rowRanges } from './rowRanges.ts'

/**
 * How far the final hidden states move from the dense model's: the mean over rows of the mean over tokens of 1 - cos(h, h') or of
 * |h - h'|² / D. For encoders without a head, whose hidden states are what is used of them; 0 for the dense model itself.
 */
export function hiddenDistanceObjective(
  engine: Engine,
  rows: TokenRows,
  measure: HiddenDistanceOptions['measure'] = 'cosine',
): RowObjective {
  const part = rowRanges(rows)
  const combine = (values: Float64Array) => values.reduce((total, value) => total + value, 0) / values.length
  return {
    measure: `hidden-${measure}`,
    unit: measure === 'cosine' ? '1 - cosine' : 'squared difference',
    rows: rows.rows,
    combine,
    async evaluate(plans, signal) {
      return (await this.evaluateRows(plans, { signal })).map((values) => combine(values))
    },
    evaluateRows: (plans, { range = [0, rows.rows] as const, signal, onRows } = {}) =>
      engine.hiddenDistances(part(range), plans, { measure, signal, onLosses: onRows }),
  }
}
