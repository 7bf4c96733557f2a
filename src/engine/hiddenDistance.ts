import type { HiddenDistanceOptions, TokenRows } from '../types.ts'

type Measure = HiddenDistanceOptions['measure']

/**
 * Distance of each row's hidden states from the dense model's: the mean over its tokens that are not padding. `dense` and
 * `hidden` are the states (B,T,D) of `batch`.
 */
export function distancesOfRows(
  measure: Measure,
  { lengths, rowLength }: TokenRows,
  batch: { readonly first: number; readonly rows: number },
  width: number,
  dense: Float32Array,
  hidden: Float32Array,
): Float64Array {
  const distances = new Float64Array(batch.rows)
  for (let row = 0; row < batch.rows; row++) {
    const tokens = lengths?.[batch.first + row] ?? rowLength
    for (let t = 0; t < tokens; t++) {
      distances[row]! += distanceAt[measure](dense, hidden, (row * rowLength + t) * width, width)
    }
    distances[row]! /= tokens
  }
  return distances
}

/** The distance of two vectors of `width` numbers that begin at `start`. */
const distanceAt: Record<Measure, (a: Float32Array, b: Float32Array, start: number, width: number) => number> = {
  cosine(a, b, start, width) {
    let [ab, aa, bb] = [0, 0, 0]
    for (let i = start; i < start + width; i++) {
      ab += a[i]! * b[i]!
      aa += a[i]! * a[i]!
      bb += b[i]! * b[i]!
    }
    // a vector of zeros has no direction: equal to another such, and across to all others
    if (aa === 0 || bb === 0) return aa === bb ? 0 : 1
    return 1 - ab / Math.sqrt(aa * bb)
  },
  meanSquared(a, b, start, width) {
    let sum = 0
    for (let i = start; i < start + width; i++) sum += (a[i]! - b[i]!) ** 2
    return sum / width
  },
}
