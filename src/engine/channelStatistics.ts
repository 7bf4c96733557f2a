import type { ChannelStatistics, TokenRows } from '../types.ts'

/** Sums over tokens of the channels that enter a branch's output matrix, in float64. */
export interface ChannelSums {
  tokens: number
  readonly sum: Float64Array
  readonly squares: Float64Array
}

/** Adds the tokens of a micro-batch that are not padding; `activations` (B,T,C). */
export function addActivations(
  sums: ChannelSums,
  { lengths, rowLength }: TokenRows,
  batch: { readonly first: number; readonly rows: number },
  activations: Float32Array,
): void {
  const channels = sums.sum.length
  for (let row = 0; row < batch.rows; row++) {
    const tokens = lengths?.[batch.first + row] ?? rowLength
    for (let t = 0; t < tokens; t++) {
      const start = (row * rowLength + t) * channels
      for (let c = 0; c < channels; c++) {
        const x = activations[start + c]!
        sums.sum[c]! += x
        sums.squares[c]! += x * x
      }
    }
    sums.tokens += tokens
  }
}

/** The statistics of one block: its sums, and its output matrix (D,C), or (C,D) where `inputFirst`. */
export function statisticsOf(
  { tokens, sum, squares }: ChannelSums,
  matrix: Float32Array,
  inputFirst: boolean,
): ChannelStatistics {
  const channels = sum.length
  const outputs = matrix.length / channels
  const [absolute, squared] = [new Float64Array(channels), new Float64Array(channels)]
  for (let c = 0; c < channels; c++) {
    for (let d = 0; d < outputs; d++) {
      const w = matrix[inputFirst ? c * outputs + d : d * channels + c]!
      absolute[c]! += Math.abs(w)
      squared[c]! += w * w
    }
  }
  return {
    mean: sum.map((value) => value / tokens),
    meanSquare: squares.map((value) => value / tokens),
    absoluteWeight: absolute.map((value) => value / outputs),
    squaredWeight: squared,
  }
}
