import { CalibrationError } from '../errors.ts'
import { alpacaColumns, alpacaText } from './alpaca.ts'
import type { Columns, Row } from './table.ts'

/** How the text of a row is made: which columns it needs, and the text of their values. */
export interface TextColumn {
  readonly columns: readonly string[]
  /** Undefined where a value is not a string; an absent value (null) is an empty text. */
  text(row: Row): string | undefined
}

/**
 * The column that is asked for, else `text`, else Alpaca's three columns put into Alpaca's prompt. Throws
 * `CalibrationError` with the columns there are.
 */
export function chooseText(available: Columns, asked: string | undefined): TextColumn {
  const { source, names, isPlainText, textColumn = 'text' } = available
  const name = asked ?? textColumn
  if (isPlainText && asked !== undefined) {
    throw new CalibrationError(`${source}: is read as plain text, which has no column "${name}"; leave --column out`)
  }
  if (names.includes(name)) return { columns: [name], text: (row) => stringOf(row[name]) }
  if (asked === undefined && alpacaColumns.every((column) => names.includes(column))) {
    return {
      columns: alpacaColumns,
      text(row) {
        const [instruction, input, output] = alpacaColumns.map((column) => stringOf(row[column]))
        if (instruction === undefined || input === undefined || output === undefined) return undefined
        return alpacaText({ instruction, input, output })
      },
    }
  }
  throw noColumn(available, name, '--column')
}

/** The error for a column that is not there, with those that are and the option that names another. */
export function noColumn({ source, names }: Columns, name: string, option: string): CalibrationError {
  return new CalibrationError(
    `${source}: has no column "${name}", its columns are ${names.join(', ')}; name one of them with ${option}`,
  )
}

function stringOf(value: unknown): string | undefined {
  if (value === null || value === undefined) return ''
  return typeof value === 'string' ? value : undefined
}
