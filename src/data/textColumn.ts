import { CalibrationError } from '../errors.ts'
import { alpacaColumns, alpacaText } from './alpaca.ts'

/** How the text of a row is made: which columns it needs, and the text of their values. */
export interface TextColumn {
  readonly columns: readonly string[]
  /** Undefined where a value is not a string; an absent value (null) is an empty text. */
  text(row: Readonly<Record<string, unknown>>): string | undefined
}

/**
 * The column that is asked for, else `text`, else Alpaca's three columns put into Alpaca's prompt. Throws
 * `CalibrationError` with the columns there are.
 */
export function chooseColumn(source: string, available: readonly string[], asked: string | undefined): TextColumn {
  const name = asked ?? 'text'
  if (available.includes(name)) return { columns: [name], text: (row) => stringOf(row[name]) }
  if (asked === undefined && alpacaColumns.every((column) => available.includes(column))) {
    return {
      columns: alpacaColumns,
      text(row) {
        const [instruction, input, output] = alpacaColumns.map((column) => stringOf(row[column]))
        if (instruction === undefined || input === undefined || output === undefined) return undefined
        return alpacaText({ instruction, input, output })
      },
    }
  }
  throw new CalibrationError(
    `${source}: has no column "${name}", its columns are ${available.join(', ')}; name one of them with --column`,
  )
}

function stringOf(value: unknown): string | undefined {
  if (value === null || value === undefined) return ''
  return typeof value === 'string' ? value : undefined
}
