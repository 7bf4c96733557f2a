import { readFile, stat } from 'node:fs/promises'
import { promisify } from 'node:util'
import { gunzip } from 'node:zlib'
import { CalibrationError } from '../errors.ts'
import { lfsPointerMessage, maxPointerBytes } from '../gitLfs.ts'
import { jsonLinesTable, jsonTable } from './jsonTable.ts'
import { parquetTable } from './parquetTable.ts'
import { decodeText, plainTable } from './plainText.ts'
import { separatedTable } from './separatedTable.ts'
import type { ChooseColumns, Table, TableOptions } from './table.ts'
import { maxTextCharacters } from './textLimits.ts'

/** Formats that are read whole, by their extension. */
const formats: Readonly<Record<string, (source: string, text: string, choose: ChooseColumns) => Table>> = {
  json: jsonTable,
  jsonl: jsonLinesTable,
  ndjson: jsonLinesTable,
  csv: (source, text, choose) => separatedTable(source, text, choose, ','),
  tsv: (source, text, choose) => separatedTable(source, text, choose, '\t'),
}

/** The rows of a file; undefined where there is none of this name. Throws `CalibrationError` for a folder and a damaged file. */
export async function readFileTable(
  path: string,
  choose: ChooseColumns,
  options: TableOptions,
): Promise<Table | undefined> {
  const found = await stat(path).catch(() => undefined)
  if (found === undefined) return undefined
  if (!found.isFile()) throw new CalibrationError(`${path}: is a folder, expected a file; name one of its files`)
  const pointer = found.size <= maxPointerBytes ? lfsPointerMessage(path, await readFile(path)) : undefined
  if (pointer !== undefined) throw new CalibrationError(pointer)
  if (/\.parquet$/i.test(path)) return parquetTable(path, [path], choose, options)
  const extension = /\.(\w+)(\.gz)?$/.exec(path)?.[1]?.toLowerCase() ?? ''
  const read = Object.hasOwn(formats, extension) ? formats[extension]! : plainTable
  const table = read(path, decodeText(path, await readWhole(path, found.size)), choose)
  return { ...table, rows: options.limit === undefined ? table.rows : table.rows.slice(0, options.limit) }
}

async function readWhole(path: string, size: number): Promise<Uint8Array> {
  const tooLarge = (cause?: unknown) =>
    new CalibrationError(
      `${path}: has more than ${maxTextCharacters} bytes, more than can be packed at once; take a part of it`,
      cause === undefined ? undefined : { cause },
    )
  if (size > maxTextCharacters) throw tooLarge()
  let bytes: Uint8Array
  try {
    bytes = await readFile(path)
  } catch (cause) {
    throw new CalibrationError(`${path}: cannot be read (${(cause as Error).message})`, { cause })
  }
  if (!/\.gz$/i.test(path)) return bytes
  try {
    return await promisify(gunzip)(bytes, { maxOutputLength: maxTextCharacters })
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === 'ERR_BUFFER_TOO_LARGE') throw tooLarge(cause)
    throw new CalibrationError(`${path}: cannot be unpacked (${(cause as Error).message}); is the file complete?`, {
      cause,
    })
  }
}
