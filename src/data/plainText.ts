import { CalibrationError } from '../errors.ts'
import type { ChooseColumns, Table } from './table.ts'

/**
 * A plain text, cut at every empty line. Joined by `\n\n`, as rows are packed, the paragraphs are the file again,
 * character by character; drawn, they are the texts to draw from.
 */
export function plainTable(source: string, text: string, choose: ChooseColumns): Table {
  choose({ source, names: ['text'], isPlainText: true })
  const paragraphs = text === '' ? [] : text.split('\n\n')
  return {
    name: source,
    rows: paragraphs.map((paragraph) => ({ text: paragraph })),
    place: (index) => `paragraph ${index + 1}`,
  }
}

/** UTF-8 as a string, without a byte order mark. Throws `CalibrationError` naming the file. */
export function decodeText(source: string, bytes: Uint8Array): string {
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes)
  } catch (cause) {
    throw new CalibrationError(`${source}: is not UTF-8; save it as UTF-8, or is it a text?`, { cause })
  }
}
