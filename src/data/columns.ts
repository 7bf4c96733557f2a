import { CalibrationError } from '../errors.ts'
import { noColumn } from './columnText.ts'
import { type Columns, readTable, type Table } from './table.ts'

/**
 * The rows of a source, which is what `readTable` takes, with the columns that options name, option → column. At most `rows` rows
 * where that is given. Throws `CalibrationError` for a column that is not there, with those that are, and for plain text.
 */
export async function readColumns(
  source: string,
  named: Readonly<Record<`--${string}`, string>>,
  rows?: number,
): Promise<Table> {
  const wanted = Object.entries(named)
  const choose = (columns: Columns) => {
    if (columns.isPlainText) {
      throw new CalibrationError(
        `${source}: is no table, expected a .jsonl, .json, .csv, .tsv or .parquet file with the columns ${Object.values(named).join(' and ')}; ` +
          'give one with --dataset, or score by --task hiddenStates, for which any text will do',
      )
    }
    for (const [option, column] of wanted) if (!columns.names.includes(column)) throw noColumn(columns, column, option)
    return Object.values(named)
  }
  const table = await readTable(source, choose, { limit: rows })
  for (const [option, column] of wanted) {
    const row = table.rows.findIndex((candidate) => !Object.hasOwn(candidate, column))
    if (row < 0) continue
    throw noColumn({ source: `${source}: ${table.place(row)}`, names: Object.keys(table.rows[row]!) }, column, option)
  }
  return table
}
