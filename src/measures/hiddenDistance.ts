import type { TokenRows } from '../types.ts'
import { cosineAt } from './cosine.ts'
import { denseStates, foldRows } from './foldRows.ts'
import type { Batch, RowMeasure } from './machine.ts'

export interface HiddenDistanceOptions {
  /** 1 - cos(h, h'), or the mean over the width of (h - h')². */
  readonly by: 'cosine' | 'meanSquared'
}

/**
 * The distance of each row's final hidden states (the decoder's, where there is one) from the dense model's: the mean over the tokens
 * that are not padding, in float64.
 */
export const hiddenDistance: RowMeasure<HiddenDistanceOptions> = {
  unit: ({ by }) => (by === 'cosine' ? '1 - cosine' : 'squared difference'),
  journalName: ({ by }) => `hidden-${by}`,
  measure: (machine, asked) =>
    foldRows(machine, asked, {
      reference: (_, __, chunk) => denseStates(machine, asked, chunk),
      values: async (_, { rows, options }, batch, hidden, dense) =>
        distancesOfRows(options.by, rows.decoder ?? rows, batch, machine.width, dense!, hidden),
    }),
}

/** Distance of each row's hidden states from the dense model's; `dense` and `hidden` are the states (B,T,D) of `batch`. */
function distancesOfRows(
  by: HiddenDistanceOptions['by'],
  { lengths, rowLength }: TokenRows,
  batch: Batch,
  width: number,
  dense: Float32Array,
  hidden: Float32Array,
): Float64Array {
  const distances = new Float64Array(batch.rows)
  for (let row = 0; row < batch.rows; row++) {
    const tokens = lengths?.[batch.first + row] ?? rowLength
    for (let t = 0; t < tokens; t++) {
      distances[row]! += distanceAt[by](dense, hidden, (row * rowLength + t) * width, width)
    }
    distances[row]! /= tokens
  }
  return distances
}

/** The distance of two vectors of `width` numbers that begin at `start`. */
const distanceAt: Record<
  HiddenDistanceOptions['by'],
  (a: Float32Array, b: Float32Array, start: number, width: number) => number
> = {
  // a vector of zeros has no direction: equal to another such, and across to all others
  cosine: (a, b, start, width) => 1 - cosineAt(a, b, start, width),
  meanSquared(a, b, start, width) {
    let sum = 0
    for (let i = start; i < start + width; i++) sum += (a[i]! - b[i]!) ** 2
    return sum / width
  },
}
