import { CalibrationError } from '../errors.ts'
import { decodeText } from './plainText.ts'
import { chooseColumn, type TextColumn } from './textColumn.ts'

/** The texts of a JSON file: a list of objects. Throws `CalibrationError` naming the entry that is wrong. */
export function textsOfJson(source: string, bytes: Uint8Array, column: string | undefined): string[] {
  const list = parse(source, 'the file', decodeText(source, bytes))
  if (!Array.isArray(list)) {
    throw new CalibrationError(
      `${source}: holds ${kindOf(list)}, expected a list of objects; one object a line is .jsonl`,
    )
  }
  return textsOf(source, list, column, (index) => `entry ${index}`)
}

/** The texts of a JSON Lines file: one object a line, blank lines skipped. */
export function textsOfJsonLines(source: string, bytes: Uint8Array, column: string | undefined): string[] {
  const lines = decodeText(source, bytes).split('\n')
  const numbers = lines.flatMap((line, index) => (line.trim() === '' ? [] : [index]))
  const rows = numbers.map((index) => parse(source, `line ${index + 1}`, lines[index] as string))
  return textsOf(source, rows, column, (index) => `line ${(numbers[index] as number) + 1}`)
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
function textsOf(
  source: string,
  rows: readonly unknown[],
  column: string | undefined,
  place: (index: number) => string,
): string[] {
  let chosen: TextColumn | undefined
  return rows.map((row, index) => {
    if (row === null || typeof row !== 'object' || Array.isArray(row)) {
      throw new CalibrationError(`${source}: ${place(index)} is ${kindOf(row)}, expected an object`)
    }
    chosen ??= chooseColumn(source, Object.keys(row), column)
    const lacking = chosen.columns.find((name) => !(name in row))
    const text = lacking === undefined ? chosen.text(row as Readonly<Record<string, unknown>>) : undefined
    if (text === undefined) {
      const found = lacking === undefined ? `no string in "${chosen.columns.join('", "')}"` : `no "${lacking}"`
      throw new CalibrationError(`${source}: ${place(index)} has ${found}; name another column with --column`)
    }
    return text
  })
}

function kindOf(value: unknown): string {
  if (value === null) return 'null'
  if (Array.isArray(value)) return 'a list'
  return typeof value === 'object' ? 'an object' : `a ${typeof value}`
}
