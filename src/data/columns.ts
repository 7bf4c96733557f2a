import { readFile, stat } from 'node:fs/promises'
import { asyncBufferFromFile, parquetMetadataAsync, parquetReadObjects, parquetSchema } from 'hyparquet'
import { compressors } from 'hyparquet-compressors'
import { CalibrationError } from '../errors.ts'
import { decodeText } from './plainText.ts'
import { maxTextCharacters } from './textLimits.ts'

type Row = Readonly<Record<string, unknown>>

/**
 * The columns of a table that options name, option → column, row by row: .jsonl, .json (a list of objects), .csv and .tsv (the first line names the columns) or
 * .parquet. At most `rows` rows where that is given. Throws `CalibrationError` for another kind of file and for a column that is
 * not there, with those that are.
 */
export async function readColumns(
  path: string,
  named: Readonly<Record<`--${string}`, string>>,
  rows?: number,
): Promise<Row[]> {
  const columns = Object.values(named)
  const extension = /\.(jsonl|ndjson|json|csv|tsv|parquet)$/i.exec(path)?.[1]?.toLowerCase()
  if (extension === undefined) {
    throw new CalibrationError(
      `${path}: is no table, expected a .jsonl, .json, .csv, .tsv or .parquet file with the columns ${columns.join(' and ')}; ` +
        'give one with --dataset, or score by --task hiddenStates, for which any text will do',
    )
  }
  const size = (await stat(path).catch(() => undefined))?.size
  if (size === undefined)
    throw new CalibrationError(`${path}: is not there, expected a file with the columns ${columns.join(', ')}`)
  if (size > maxTextCharacters) {
    throw new CalibrationError(`${path}: has ${size} bytes, expected at most ${maxTextCharacters}; take a part of it`)
  }
  const table =
    extension === 'parquet' ? await parquetRows(path, columns, rows) : textRows(path, await readFile(path), extension)
  const missing = Object.entries(named).find(([, column]) => table.some((row) => !Object.hasOwn(row, column)))
  if (missing !== undefined) {
    const [option, lacking] = missing
    const row = table.findIndex((candidate) => !Object.hasOwn(candidate, lacking))
    throw new CalibrationError(
      `${path}: row ${row} has no column "${lacking}", its columns are ${Object.keys(table[row]!).join(', ')}; name one of them with ${option}`,
    )
  }
  return rows === undefined ? table : table.slice(0, rows)
}

function textRows(path: string, bytes: Uint8Array, extension: string): Row[] {
  const text = decodeText(path, bytes)
  if (extension === 'csv') return namedFields(separatedValues(path, text, ','))
  if (extension === 'tsv') return namedFields(separatedValues(path, text, '\t'))
  const lines = extension === 'json' ? undefined : text.split('\n').filter((line) => line.trim() !== '')
  const values: unknown = lines === undefined ? parseJson(path, text) : lines.map((line) => parseJson(path, line))
  if (!Array.isArray(values) || values.some((row) => row === null || typeof row !== 'object' || Array.isArray(row))) {
    throw new CalibrationError(`${path}: holds something else than a list of objects; expected one object a row`)
  }
  return values
}

function parseJson(path: string, text: string): unknown {
  try {
    return JSON.parse(text)
  } catch (cause) {
    throw new CalibrationError(`${path}: is not JSON (${(cause as Error).message}); is the file complete?`, { cause })
  }
}

/** The fields of each line; a field in double quotes may hold separators, line ends and doubled quotes (RFC 4180). */
function separatedValues(path: string, text: string, separator: string): string[][] {
  const lines: string[][] = []
  let fields: string[] = []
  let at = 0
  while (at < text.length) {
    let field = ''
    if (text[at] === '"') {
      for (at++; text[at] !== '"' || text[at + 1] === '"'; at++) {
        if (at >= text.length)
          throw new CalibrationError(`${path}: line ${lines.length + 1} leaves a quote open; is the file complete?`)
        if (text[at] === '"') at++
        field += text[at]
      }
      at++
    } else {
      const start = at
      while (at < text.length && text[at] !== separator && text[at] !== '\n') at++
      field = text.slice(start, at).replace(/\r$/, '')
    }
    fields.push(field)
    if (text[at] === separator) {
      at++
      if (at < text.length) continue
      fields.push('')
    }
    while (at < text.length && text[at] !== '\n') at++
    at++
    lines.push(fields)
    fields = []
  }
  return lines
}

function namedFields([names = [], ...lines]: string[][]): Row[] {
  return lines
    .filter((fields) => fields.length > 1 || fields[0] !== '')
    .map((fields) => Object.fromEntries(fields.map((field, i) => [names[i] ?? `column ${i + 1}`, field])))
}

async function parquetRows(path: string, columns: readonly string[], rows: number | undefined): Promise<Row[]> {
  try {
    const file = await asyncBufferFromFile(path)
    const metadata = await parquetMetadataAsync(file)
    const available = parquetSchema(metadata).children.map(({ element }) => element.name)
    const wanted = columns.filter((column) => available.includes(column))
    // columns that are not there are found by the caller, which names those that are
    const read = wanted.length === columns.length ? wanted : available
    return await parquetReadObjects({ file, metadata, compressors, columns: read, ...(rows && { rowEnd: rows }) })
  } catch (cause) {
    throw new CalibrationError(
      `${path}: cannot be read as parquet (${(cause as Error).message}); is the file complete?`,
      {
        cause,
      },
    )
  }
}
