import type { PositionBiasForm, RopeForm } from '../model/mathematics.ts'

/** (T,R/2) `wave` of position · frequency; the angle is a float32 product, as the reference implementations compute it. */
export function rotaryTable(rope: RopeForm, tokens: number, wave: (angle: number) => number) {
  const { magnitude = 1 } = rope
  const inverseFrequencies = frequenciesOf(rope, tokens)
  const half = inverseFrequencies.length
  const table = new Float32Array(tokens * half)
  for (let t = 0; t < tokens; t++) {
    for (let i = 0; i < half; i++) {
      table[t * half + i] = wave(Math.fround(t * Math.fround(inverseFrequencies[i]!))) * magnitude
    }
  }
  return table
}

/** Those that turn rows of `tokens`. */
function frequenciesOf({ inverseFrequencies, long, dynamic }: RopeForm, tokens: number): readonly number[] {
  if (long !== undefined && tokens > long.beyond) return long.inverseFrequencies
  if (dynamic === undefined || tokens <= dynamic.beyond) return inverseFrequencies
  const { beyond, base, factor } = dynamic
  const turning = 2 * inverseFrequencies.length
  const stretched = base * ((factor * tokens) / beyond - factor + 1) ** (turning / (turning - 2))
  return inverseFrequencies.map((_, i) => stretched ** ((-2 * i) / turning))
}

/** (T,D): sin(t · f) in the first half, cos(t · f) in the second, f = 10000^(-2i/D). */
export function sinusoidTable(width: number, tokens: number) {
  const half = width / 2
  const table = new Float32Array(tokens * width)
  for (let t = 0; t < tokens; t++) {
    for (let i = 0; i < half; i++) {
      const angle = t / 10000 ** ((2 * i) / width)
      table[t * width + i] = Math.sin(angle)
      table[t * width + half + i] = Math.cos(angle)
    }
  }
  return table
}

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
