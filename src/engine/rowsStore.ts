import { createHash } from 'node:crypto'
import { EngineError } from '../errors.ts'
import type { RowsId } from '../measures/measurement.ts'
import type { TokenRows } from '../types.ts'

/** A hash of what rows hold, equal for equal rows. */
export function rowsIdOf(rows: TokenRows): RowsId {
  const known = ids.get(rows)
  if (known !== undefined) return known
  const hash = createHash('sha256')
  addRows(hash, rows)
  const id = hash.digest('hex').slice(0, 32)
  ids.set(rows, id)
  return id
}

/** Rows are values, never written to: each is hashed once. */
const ids = new WeakMap<TokenRows, RowsId>()

function addRows(hash: ReturnType<typeof createHash>, { ids, rows, rowLength, lengths, targets, decoder }: TokenRows) {
  hash.update(`${rows} x ${rowLength}`)
  for (const [name, values] of Object.entries({ ids, lengths, targets })) {
    if (values === undefined) continue
    hash.update(`; ${name}: `)
    hash.update(new Uint8Array(values.buffer, values.byteOffset, values.byteLength))
  }
  if (decoder === undefined) return
  hash.update('; decoder: ')
  addRows(hash, decoder)
}

/** Rows by their hash, and ranges of them: the same object for the same range, since a machine remembers by object. */
export interface RowsStore {
  put(id: RowsId, rows: TokenRows): void
  has(id: RowsId): boolean
  /** Throws `EngineError` for rows that were not put, and for a range outside them. */
  get(id: RowsId, range: readonly [start: number, end: number] | undefined): TokenRows
}

/** An empty store. */
export function rowsStore(): RowsStore {
  const whole = new Map<RowsId, TokenRows>()
  const parts = new Map<string, TokenRows>()
  return {
    put: (id, rows) => void whole.set(id, rows),
    has: (id) => whole.has(id),
    get(id, range) {
      const rows = whole.get(id)
      if (rows === undefined) throw new EngineError(`rows ${id} are not known here, expected them to be put first`)
      if (range === undefined || (range[0] === 0 && range[1] === rows.rows)) return rows
      const [start, end] = range
      if (!(Number.isInteger(start) && Number.isInteger(end) && 0 <= start && start < end && end <= rows.rows)) {
        throw new EngineError(`rows ${start} to ${end} of ${rows.rows}, expected a part of them that is not empty`)
      }
      const key = `${id} ${start}:${end}`
      const part = parts.get(key) ?? sliceRows(rows, range)
      parts.set(key, part)
      return part
    },
  }
}

/** Rows `start` to `end`, views of the same numbers. */
export function sliceRows(rows: TokenRows, [start, end]: readonly [start: number, end: number]): TokenRows {
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
