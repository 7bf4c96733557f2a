import { type PackedRows, type PackOptions, packRows } from './calibration.ts'
import { type Framing, framingOf } from './framing.ts'
import type { Texts } from './textSource.ts'
import type { Tokenizer } from './tokenizer.ts'

/** Packed rows inside the special tokens of an encoder; `rowLength` counts those too. */
export interface FramedRows extends PackedRows {
  readonly framing: Framing
}

/**
 * Texts as an encoder reads them: packed as `packRows` does, and every row between the special tokens that the tokenizer puts
 * around a text. Throws `CalibrationError` when the text does not fill the rows.
 */
export function framedRows(source: Texts, tokenizer: Tokenizer, options: Omit<PackOptions, 'bosEveryRow'>): FramedRows {
  const framing = framingOf(tokenizer)
  const { opening, closing } = framing
  const { rowLength } = options
  const textLength = rowLength - opening.length - closing.length
  const packed = packRows(source, { ...tokenizer, addsBos: false }, { ...options, rowLength: Math.max(1, textLength) })
  const ids = new Int32Array(packed.rows * rowLength)
  for (let row = 0; row < packed.rows; row++) {
    const text = packed.ids.subarray(row * textLength, (row + 1) * textLength)
    ids.set([...opening, ...text, ...closing], row * rowLength)
  }
  return { ids, rows: packed.rows, rowLength, framing, description: { ...packed.description, rowLength } }
}
