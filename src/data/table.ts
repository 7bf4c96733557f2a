import { CalibrationError } from '../errors.ts'
import type { HubProgress } from '../model/hubProgress.ts'
import type { StopSignal } from '../types.ts'
import { embeddedTexts } from './embeddedText.ts'
import { readFileTable } from './fileTable.ts'
import { datasetFiles } from './hubDataset.ts'
import { datasetNamed } from './namedDataset.ts'
import { parquetTable } from './parquetTable.ts'

/** One row: column → value. */
export type Row = Readonly<Record<string, unknown>>

/** Rows of a source with the columns that were chosen, and what the source is called. */
export interface Table {
  readonly name: string
  readonly rows: readonly Row[]
  /** Where row `index` stands, for messages: `line 3`. */
  place(index: number): string
}

/** What a chooser may choose from. */
export interface Columns {
  readonly source: string
  readonly names: readonly string[]
  /** A text without columns, read as one column `text` with a row for each paragraph. */
  readonly isPlainText?: true
  /** Where a known data set has its text, if not in `text`. */
  readonly textColumn?: string | undefined
}

/** Picks the columns to read out of those there are. Throws `CalibrationError` where one is missing. */
export type ChooseColumns = (columns: Columns) => readonly string[]

export interface TableOptions {
  /** Rows at most; absent: all. */
  readonly limit?: number | undefined
  /** Called while a data set is downloaded. */
  readonly onProgress?: ((progress: HubProgress) => void) | undefined
  readonly signal?: StopSignal | undefined
}

/**
 * The rows of a source, whatever is made of them:
 *
 * - `embedded` or `embedded:test`, the corpus that comes with the package;
 * - a file: .jsonl and .json (a list of objects), .csv and .tsv (the first line names the columns), .parquet, and any other as plain
 *   text cut at empty lines; .gz is unpacked;
 * - `wikitext2:test`, `alpaca`, `c4`, `ptb:test`, or `owner/name:split`, `owner/name:config:split` on the hub.
 *
 * A file comes before a data set of the same name. `choose` gets the columns there are and picks those that are read. Throws
 * `CalibrationError` for a source that is not there or damaged, an unknown split or configuration.
 */
export async function readTable(source: string, choose: ChooseColumns, options: TableOptions = {}): Promise<Table> {
  const embedded = /^embedded(?::(train|test))?$/.exec(source)
  if (embedded !== null) {
    const { name, path } = embeddedTexts[embedded[1] === 'test' ? 'test' : 'train']
    return { ...(await fileTable(path, choose, options)), name }
  }
  const found = await readFileTable(source, choose, options)
  if (found !== undefined) return found
  const { name, textColumn, ...split } = datasetNamed(source)
  const paths = await datasetFiles(split, { onProgress: options.onProgress, signal: options.signal })
  return parquetTable(name, paths, (columns) => choose({ ...columns, textColumn }), options)
}

async function fileTable(path: string, choose: ChooseColumns, options: TableOptions): Promise<Table> {
  const table = await readFileTable(path, choose, options)
  if (table === undefined) throw new CalibrationError(`${path}: is not there; install the package again`)
  return table
}
