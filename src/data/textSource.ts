import { CalibrationError } from '../errors.ts'
import { readTable, type TableOptions } from './table.ts'
import { chooseText, type TextColumn } from './textColumn.ts'

/** Texts and what they are called: data set, configuration and split are part of the name. */
export interface Texts {
  readonly name: string
  readonly texts: readonly string[]
}

export interface TextOptions extends Omit<TableOptions, 'limit'> {
  /** Column or key that holds the text; `text`, or Alpaca's columns as a prompt, unless given. */
  readonly column?: string
}

/**
 * The texts of a source, which is what `readTable` takes. Throws `CalibrationError` for a source that is not there, an unknown
 * column, split or configuration, and for a source without text.
 */
export async function readTexts(source: string, { column, ...options }: TextOptions = {}): Promise<Texts> {
  let chosen: TextColumn | undefined
  const table = await readTable(
    source,
    (columns) => {
      chosen = chooseText(columns, column)
      return chosen.columns
    },
    options,
  )
  const texts = table.rows.map((row, index) => {
    const lacking = chosen!.columns.find((name) => !(name in row))
    const text = lacking === undefined ? chosen!.text(row) : undefined
    if (text !== undefined) return text
    const found = lacking === undefined ? `no string in "${chosen!.columns.join('", "')}"` : `no "${lacking}"`
    throw new CalibrationError(`${source}: ${table.place(index)} has ${found}; name another column with --column`)
  })
  if (texts.some((text) => /\S/.test(text))) return { name: table.name, texts }
  throw new CalibrationError(`${source}: has no text in its ${texts.length} entries; is the column right?`)
}
