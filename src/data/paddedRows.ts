import { CalibrationError } from '../errors.ts'
import type { TokenRows } from '../types.ts'

/** Lists of ids as rows as long as the longest, padded at the end. Throws `CalibrationError` for an empty list. */
export function paddedRows(
  source: string,
  lists: readonly Int32Array[],
  padTokenId: number,
): TokenRows & { lengths: Int32Array } {
  const rowLength = lists.reduce((longest, { length }) => Math.max(longest, length), 0)
  const empty = lists.findIndex(({ length }) => length === 0)
  if (lists.length === 0 || empty >= 0) {
    throw new CalibrationError(
      `${source}: ${lists.length === 0 ? 'has no row' : `row ${empty} has no token`}, expected text`,
    )
  }
  const ids = new Int32Array(lists.length * rowLength).fill(padTokenId)
  for (const [row, list] of lists.entries()) ids.set(list, row * rowLength)
  return { ids, rows: lists.length, rowLength, lengths: Int32Array.from(lists, ({ length }) => length) }
}
