import { readFile, stat } from 'node:fs/promises'
import { promisify } from 'node:util'
import { gunzip } from 'node:zlib'
import { CalibrationError } from '../errors.ts'
import type { HubProgress } from '../model/hubProgress.ts'
import type { StopSignal } from '../types.ts'
import { embeddedTexts } from './embeddedText.ts'
import { type DatasetSplit, datasetFiles } from './hubDataset.ts'
import { textsOfJson, textsOfJsonLines } from './jsonText.ts'
import { knownDatasets } from './knownDatasets.ts'
import { textsOfParquet } from './parquetText.ts'
import { paragraphsOf } from './plainText.ts'
import { maxTextCharacters } from './textLimits.ts'

/** Texts and what they are called: data set, configuration and split are part of the name. */
export interface Texts {
  readonly name: string
  readonly texts: readonly string[]
}

export interface TextOptions {
  /** Column or key that holds the text; `text`, or Alpaca's columns as a prompt, unless given. */
  readonly column?: string
  /** Called while a data set is downloaded. */
  readonly onProgress?: (progress: HubProgress) => void
  readonly signal?: StopSignal
}

/**
 * The texts of a source:
 *
 * - `embedded` or `embedded:test`, the corpus that comes with the package;
 * - a file: .jsonl and .json (a list of objects), .parquet, and any other as plain text cut at empty lines; .gz is unpacked;
 * - `wikitext2:test`, `alpaca`, `c4`, `ptb:test`, or `owner/name:split`, `owner/name:config:split` on the hub.
 *
 * A file comes before a data set of the same name. Throws `CalibrationError` for a source that is not there, an unknown
 * column, split or configuration, and for a source without text.
 */
export async function readTexts(source: string, options: TextOptions = {}): Promise<Texts> {
  const found =
    (await readEmbedded(source)) ?? (await readFileTexts(source, options)) ?? (await readDataset(source, options))
  if (found.texts.some((text) => /\S/.test(text))) return found
  throw new CalibrationError(`${source}: has no text in its ${found.texts.length} entries; is the column right?`)
}

async function readEmbedded(source: string): Promise<Texts | undefined> {
  const match = /^embedded(?::(train|test))?$/.exec(source)
  if (match === null) return undefined
  const { name, path } = embeddedTexts[match[1] === 'test' ? 'test' : 'train']
  return { name, texts: paragraphsOf(path, await readFile(path)) }
}

async function readFileTexts(source: string, { column }: TextOptions): Promise<Texts | undefined> {
  const found = await stat(source).catch(() => undefined)
  if (found === undefined) return undefined
  if (!found.isFile()) throw new CalibrationError(`${source}: is a folder, expected a file; name one of its files`)
  const plainName = source.replace(/\.gz$/i, '')
  const extension = /\.(jsonl|ndjson|json|parquet)$/i.exec(plainName)?.[1]?.toLowerCase()
  if (extension === 'parquet') return { name: source, texts: await textsOfParquet(source, [source], column) }
  const bytes = await readWhole(source, found.size)
  switch (extension) {
    case 'json':
      return { name: source, texts: textsOfJson(source, bytes, column) }
    case 'jsonl':
    case 'ndjson':
      return { name: source, texts: textsOfJsonLines(source, bytes, column) }
    default:
      if (column === undefined) return { name: source, texts: paragraphsOf(source, bytes) }
      throw new CalibrationError(
        `${source}: is read as plain text, which has no column "${column}"; leave --column out`,
      )
  }
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

async function readDataset(source: string, options: TextOptions): Promise<Texts> {
  const { name, column, ...split } = datasetOf(source)
  const { onProgress, signal } = options
  const paths = await datasetFiles(split, { onProgress, signal })
  return { name, texts: await textsOfParquet(name, paths, options.column ?? column) }
}

function datasetOf(source: string): DatasetSplit & { readonly name: string; readonly column?: string | undefined } {
  const match = /^(\w[\w.-]*\/\w[\w.-]*):(?:([^:/]+):)?([\w.-]+)$/.exec(source)
  if (match !== null) {
    const [, repository, config, split] = match as unknown as [string, string, string | undefined, string]
    return { name: source, repository, config, split }
  }
  const [short = '', split, ...more] = source.split(':')
  const known = Object.hasOwn(knownDatasets, short) ? knownDatasets[short] : undefined
  if (known === undefined || more.length > 0) throw new CalibrationError(`${source}: ${whatItCouldBe(source, short)}`)
  const chosen = split ?? known.defaultSplit
  if (chosen === undefined || !known.splits.includes(chosen)) {
    const found = split === undefined ? 'names no split' : `has no split "${split}"`
    throw new CalibrationError(
      `${source}: ${found}, expected ${known.splits.map((name) => `${short}:${name}`).join(', ')}`,
    )
  }
  const { repository, config, column } = known
  return { name: `${short}:${chosen}`, repository, config, split: chosen, column }
}

function whatItCouldBe(source: string, short: string): string {
  if (/^\w[\w.-]*\/\w[\w.-]*$/.test(source) && !/\.(txt|raw|jsonl?|ndjson|parquet|gz)$/i.test(source)) {
    return `is no file here; for a data set of the hub, name its split as ${source}:train`
  }
  const names = ['embedded', ...Object.keys(knownDatasets)]
  const near = names.find((name) => editDistance(name, short.toLowerCase()) <= 2)
  return `is no file here and no known data set${near ? `, did you mean ${near}?` : ','} expected a file, ${names.join(', ')}, or owner/name:split`
}

/** Letters to insert, delete or change (Levenshtein) until `a` is `b`. */
function editDistance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, j) => j)
  for (let i = 1; i <= a.length; i++) {
    const next = [i]
    for (let j = 1; j <= b.length; j++) {
      next.push(Math.min(row[j]! + 1, next[j - 1]! + 1, row[j - 1]! + (a[i - 1] === b[j - 1] ? 0 : 1)))
    }
    row = next
  }
  return row[b.length]!
}
