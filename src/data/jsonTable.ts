import { CalibrationError } from '../errors.ts'
import type { ChooseColumns, Row, Table } from './table.ts'

/** The objects of a JSON file: a list of them. Throws `CalibrationError` naming the entry that is none. */
export function jsonTable(source: string, text: string, choose: ChooseColumns): Table {
  const list = parse(source, 'the file', text)
  if (!Array.isArray(list)) {
    throw new CalibrationError(
      `${source}: holds ${kindOf(list)}, expected a list of objects; one object a line is .jsonl`,
    )
  }
  return tableOf(source, list, choose, (index) => `entry ${index}`)
}

/** The objects of a JSON Lines file: one a line, blank lines skipped. */
export function jsonLinesTable(source: string, text: string, choose: ChooseColumns): Table {
  const lines = text.split('\n')
  const numbers = lines.flatMap((line, index) => (line.trim() === '' ? [] : [index]))
  const rows = numbers.map((index) => parse(source, `line ${index + 1}`, lines[index]!))
  return tableOf(source, rows, choose, (index) => `line ${numbers[index]! + 1}`)
}

function parse(source: string, place: string, json: string): unknown {
  try {
    return JSON.parse(json)
  } catch (cause) {
    throw new CalibrationError(
      `${source}: ${place} is not JSON (${(cause as Error).message}); is the file complete, and is the extension right?`,
      { cause },
    )
  }
}

/** The first row says which columns there are. */
function tableOf(source: string, rows: readonly unknown[], choose: ChooseColumns, place: Table['place']): Table {
  const wrong = rows.findIndex((row) => row === null || typeof row !== 'object' || Array.isArray(row))
  if (wrong >= 0) {
    throw new CalibrationError(`${source}: ${place(wrong)} is ${kindOf(rows[wrong])}, expected an object`)
  }
  const objects = rows as readonly Row[]
  if (objects.length > 0) choose({ source, names: Object.keys(objects[0]!) })
  return { name: source, rows: objects, place }
}

function kindOf(value: unknown): string {
  if (value === null) return 'null'
  if (Array.isArray(value)) return 'a list'
  return typeof value === 'object' ? 'an object' : `a ${typeof value}`
}
