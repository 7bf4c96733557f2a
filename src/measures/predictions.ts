import type { TokenRows } from '../types.ts'

/** Positions of a micro-batch that predict something, row by row, and the id or class each is to predict. */
export interface Predictions {
  /** Counted through the batch: row · T + position. */
  readonly positions: Int32Array
  readonly targets: BigInt64Array
}

/** What rows `first` to `first + count` predict: their targets, or the next token at each position but the last. */
export function predictionsOf({ ids, rowLength, targets }: TokenRows, first: number, count: number): Predictions {
  const start = first * rowLength
  const positions: number[] = []
  const wanted: bigint[] = []
  for (let i = 0; i < count * rowLength; i++) {
    const target = targets !== undefined ? targets[start + i]! : (i + 1) % rowLength === 0 ? -1 : ids[start + i + 1]!
    if (target < 0) continue
    positions.push(i)
    wanted.push(BigInt(target))
  }
  return { positions: Int32Array.from(positions), targets: BigInt64Array.from(wanted) }
}

/** The hidden states (B,T,D) at the given positions: (N,D). */
export function statesAt(hidden: Float32Array, width: number, positions: Int32Array): Float32Array<ArrayBuffer> {
  const states = new Float32Array(positions.length * width)
  for (const [i, position] of positions.entries()) {
    states.set(hidden.subarray(position * width, (position + 1) * width), i * width)
  }
  return states
}
