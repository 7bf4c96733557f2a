import type { PositionBiasForm } from '../model/forms.ts'

/**
 * T5's ranges of distances d = key - query, for all pairs of `tokens` positions, (T,T) row-major. Half of the ranges of a
 * direction hold one distance each, n = 0, 1, … h-1; the others grow by powers up to `maxDistance`:
 * h + ⌊ log(n / h) / log(maxDistance / h) · h ⌋. In float32 step by step, as PyTorch computes it: the powers meet the whole
 * numbers, where rounding decides.
 */
export function distanceBuckets({ buckets, maxDistance, bothDirections }: PositionBiasForm, tokens: number) {
  const ranges = bothDirections ? Math.floor(buckets / 2) : buckets
  const exact = Math.floor(ranges / 2)
  const rangeOf = (distance: number): number => {
    const n = bothDirections ? Math.abs(distance) : Math.max(0, -distance)
    const later = bothDirections && distance > 0 ? ranges : 0
    if (n < exact) return later + n
    const power = Math.fround(Math.log(Math.fround(n / exact)))
    const scaled = Math.fround(Math.fround(power / Math.fround(Math.log(maxDistance / exact))) * (ranges - exact))
    return later + Math.min(exact + Math.floor(scaled), ranges - 1)
  }
  const table = new BigInt64Array(tokens * tokens)
  for (let query = 0; query < tokens; query++) {
    for (let key = 0; key < tokens; key++) table[query * tokens + key] = BigInt(rangeOf(key - query))
  }
  return table
}
