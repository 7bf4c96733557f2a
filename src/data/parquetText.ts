import { asyncBufferFromFile, parquetMetadataAsync, parquetReadObjects, parquetSchema } from 'hyparquet'
import { compressors } from 'hyparquet-compressors'
import { CalibrationError, ToolkitError } from '../errors.ts'
import { chooseColumn } from './textColumn.ts'
import { checkTextSize } from './textLimits.ts'

/** Writers make row groups of up to some hundred megabytes; a larger column is a damaged or hostile size. */
const maxColumnBytes = 1_000_000_000

/**
 * The texts of parquet files that together are one split. Only the wanted columns are read, by position, a row group at a
 * time. Throws `CalibrationError` for a file that is damaged, for a column that is not there or holds no strings.
 */
export async function textsOfParquet(
  source: string,
  paths: readonly string[],
  column: string | undefined,
): Promise<string[]> {
  const texts: string[] = []
  let characters = 0
  for (const path of paths) {
    try {
      for await (const text of textsOfFile(source, path, column)) {
        texts.push(text)
        characters += text.length
        checkTextSize(source, characters)
      }
    } catch (cause) {
      if (cause instanceof ToolkitError) throw cause
      throw new CalibrationError(
        `${path}: cannot be read as parquet (${(cause as Error).message}); is the file complete?`,
        { cause },
      )
    }
  }
  return texts
}

async function* textsOfFile(source: string, path: string, column: string | undefined): AsyncGenerator<string> {
  const file = await asyncBufferFromFile(path)
  const metadata = await parquetMetadataAsync(file)
  const available = parquetSchema(metadata).children.map(({ element }) => element.name)
  const chosen = chooseColumn(source, available, column)
  let rowStart = 0
  for (const group of metadata.row_groups) {
    const rowEnd = rowStart + Number(group.num_rows)
    for (const { meta_data: meta } of group.columns) {
      if (
        meta &&
        chosen.columns.includes(String(meta.path_in_schema[0])) &&
        meta.total_uncompressed_size > maxColumnBytes
      ) {
        throw new CalibrationError(
          `${path}: a row group has ${meta.total_uncompressed_size} bytes of "${meta.path_in_schema[0]}", expected at most ${maxColumnBytes}; write smaller row groups`,
        )
      }
    }
    const rows = await parquetReadObjects({
      file,
      metadata,
      compressors,
      columns: [...chosen.columns],
      rowStart,
      rowEnd,
    })
    for (const [index, row] of rows.entries()) {
      const text = chosen.text(row)
      if (text === undefined) {
        throw new CalibrationError(
          `${source}: row ${rowStart + index} has no string in "${chosen.columns.join('", "')}"; name another column with --column`,
        )
      }
      yield text
    }
    rowStart = rowEnd
  }
}
