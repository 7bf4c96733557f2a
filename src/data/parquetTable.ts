import { asyncBufferFromFile, parquetMetadataAsync, parquetReadObjects, parquetSchema } from 'hyparquet'
import { compressors } from 'hyparquet-compressors'
import { CalibrationError, ToolkitError } from '../errors.ts'
import type { ChooseColumns, Row, Table, TableOptions } from './table.ts'
import { checkTextSize } from './textLimits.ts'

/** Writers make row groups of up to some hundred megabytes; a larger column is a damaged or hostile size. */
const maxColumnBytes = 1_000_000_000

/**
 * The rows of parquet files that together are one split. Only the chosen columns are read, by position, a row group at a
 * time. Throws `CalibrationError` for a file that is damaged and for more text than fits.
 */
export async function parquetTable(
  source: string,
  paths: readonly string[],
  choose: ChooseColumns,
  { limit = Number.POSITIVE_INFINITY, signal }: TableOptions,
): Promise<Table> {
  const rows: Row[] = []
  let characters = 0
  for (const path of paths) {
    if (rows.length >= limit) break
    try {
      for await (const group of groupsOf(source, path, choose)) {
        signal?.throwIfAborted()
        for (const row of group.slice(0, limit - rows.length)) {
          rows.push(row)
          for (const value of Object.values(row)) if (typeof value === 'string') characters += value.length
        }
        checkTextSize(source, characters)
        if (rows.length >= limit) break
      }
    } catch (cause) {
      if (cause instanceof ToolkitError || signal?.aborted === true) throw cause
      throw new CalibrationError(
        `${path}: cannot be read as parquet (${(cause as Error).message}); is the file complete?`,
        { cause },
      )
    }
  }
  return { name: source, rows, place: (index) => `row ${index}` }
}

async function* groupsOf(source: string, path: string, choose: ChooseColumns): AsyncGenerator<Row[]> {
  const file = await asyncBufferFromFile(path)
  const metadata = await parquetMetadataAsync(file)
  const names = parquetSchema(metadata).children.map(({ element }) => element.name)
  const columns = [...choose({ source, names })]
  let rowStart = 0
  for (const group of metadata.row_groups) {
    const rowEnd = rowStart + Number(group.num_rows)
    for (const { meta_data: meta } of group.columns) {
      const name = String(meta?.path_in_schema[0])
      if (meta && columns.includes(name) && meta.total_uncompressed_size > maxColumnBytes) {
        throw new CalibrationError(
          `${path}: a row group has ${meta.total_uncompressed_size} bytes of "${name}", expected at most ${maxColumnBytes}; write smaller row groups`,
        )
      }
    }
    yield await parquetReadObjects({ file, metadata, compressors, columns, rowStart, rowEnd })
    rowStart = rowEnd
  }
}
