import type { TokenRows } from '../types.ts'

/** The first tokens of the first rows, and of what a decoder reads beside them: enough to compare predictions on. */
export function firstTokens(rows: TokenRows, mostRows: number, mostTokens: number): TokenRows {
  const [count, length] = [Math.min(rows.rows, mostRows), Math.min(rows.rowLength, mostTokens)]
  const ids = new Int32Array(count * length)
  for (let row = 0; row < count; row++) {
    ids.set(rows.ids.subarray(row * rows.rowLength, row * rows.rowLength + length), row * length)
  }
  const { lengths, decoder } = rows
  return {
    ids,
    rows: count,
    rowLength: length,
    ...(lengths && { lengths: lengths.slice(0, count).map((tokens) => Math.min(tokens, length)) }),
    ...(decoder && { decoder: firstTokens(decoder, mostRows, mostTokens) }),
  }
}
