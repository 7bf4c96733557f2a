import { CsvError, parse } from 'csv-parse/sync'
import { CalibrationError } from '../errors.ts'
import type { ChooseColumns, Row, Table } from './table.ts'

/**
 * Fields between separators (RFC 4180), the first line naming the columns; a field in double quotes may hold separators, line ends
 * and doubled quotes. Blank lines are skipped. Throws `CalibrationError` with the line that has more or fewer fields than the first.
 */
export function separatedTable(source: string, text: string, choose: ChooseColumns, separator: ',' | '\t'): Table {
  let records: { readonly record: Row; readonly info: { readonly lines: number } }[]
  try {
    records = parse(text, {
      columns: (names: string[]) => checkedNames(source, names, choose),
      delimiter: separator,
      info: true,
      record_delimiter: ['\r\n', '\n', '\r'],
      // a quote inside a field is a character: 5" pipes
      relax_quotes: true,
      skip_empty_lines: true,
    }) as unknown as typeof records
  } catch (cause) {
    if (!(cause instanceof CsvError)) throw cause
    const advice =
      'quote fields that hold separators, quotes or line ends; is the file complete, and the extension right?'
    throw new CalibrationError(`${source}: cannot be read as a table (${cause.message}); ${advice}`, { cause })
  }
  return {
    name: source,
    rows: records.map(({ record }) => record),
    place: (index) => `the row that ends in line ${records[index]!.info.lines}`,
  }
}

/** The names of the columns, those that nobody chose left out. */
function checkedNames(source: string, names: readonly string[], choose: ChooseColumns): (string | false)[] {
  const twice = names.find((name, i) => names.indexOf(name) !== i)
  if (twice !== undefined) {
    throw new CalibrationError(`${source}: has two columns "${twice}", expected a first line of different names`)
  }
  const chosen = choose({ source, names })
  return names.map((name) => chosen.includes(name) && name)
}
