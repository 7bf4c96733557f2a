import type { TokenRows } from '../types.ts'

/** Ranges of the rows, the same object for the same range: an engine remembers what it computed for an object. */
export function rowRanges(rows: TokenRows): (range: readonly [start: number, end: number]) => TokenRows {
  const parts = new Map<string, TokenRows>([[`0,${rows.rows}`, rows]])
  return (range) => {
    const key = `${range}`
    const part = parts.get(key) ?? sliceRows(rows, range)
    parts.set(key, part)
    return part
  }
}

function sliceRows(rows: TokenRows, [start, end]: readonly [number, number]): TokenRows {
  const { ids, rowLength, lengths, targets, decoder } = rows
  const cut = (values: Int32Array) => values.subarray(start * rowLength, end * rowLength)
  return {
    ids: cut(ids),
    rows: end - start,
    rowLength,
    ...(lengths && { lengths: lengths.subarray(start, end) }),
    ...(targets && { targets: cut(targets) }),
    ...(decoder && { decoder: sliceRows(decoder, [start, end]) }),
  }
}
