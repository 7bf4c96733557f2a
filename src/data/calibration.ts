import { createHash } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { z } from 'zod'
import { CalibrationError } from '../errors.ts'
import { lfsPointerMessage } from '../gitLfs.ts'
import { Random } from '../tensor/random.ts'
import type { TokenRows } from '../types.ts'
import { fingerprintsOf } from './overlap.ts'
import type { Texts } from './textSource.ts'
import type { Tokenizer } from './tokenizer.ts'

export interface PackOptions {
  /** Tokens a row. */
  readonly rowLength: number
  /** Exactly this many rows; absent: as many as the text fills. */
  readonly rows?: number
  /** Put between two texts, `\n\n` unless given. */
  readonly separator?: string
  /** Begin every row with the BOS token (Gemma needs it); otherwise one at the very start, if the tokenizer adds it. */
  readonly bosEveryRow?: boolean
  /** Pack this many texts, drawn with this seed, in the order drawn, instead of all in their own order. */
  readonly draw?: { readonly texts: number; readonly seed: number }
}

/** What a set of rows was made from: travels with every number measured on them. */
export interface RowsDescription {
  /** Data set, configuration and split, or file. */
  readonly source: string
  readonly rows: number
  readonly rowLength: number
  readonly tokens: number
  readonly bos: 'none' | 'first' | 'every-row'
  /** Of the ids as little-endian 32-bit integers, hexadecimal. */
  readonly sha256: string
  /** Texts drawn, and the seed they were drawn with; absent when the source was read in its own order. */
  readonly texts?: number
  readonly seed?: number
  /** What the rows predict, where it is not the next token. */
  readonly prediction?: string
  /** By which `sharedPassage` finds the same text again in other rows. */
  readonly fingerprints: string[]
}

/** Rows of token ids and what they were made from. */
export interface PackedRows extends TokenRows {
  readonly description: RowsDescription
}

/**
 * Texts as rows of equal length: joined, tokenised once with one BOS at the very start if the tokenizer adds it, cut; the
 * incomplete last row is dropped (as BlockPruner's code does, arXiv:2406.10594). Only as much text is tokenised as the
 * rows need, up to a place where the tokenizer promises that cutting changes no id, so that the rows are the first rows of
 * the whole text. Throws `CalibrationError` when the text fills fewer rows than asked for, or none.
 */
export function packRows(source: Texts, tokenizer: Tokenizer, options: PackOptions): PackedRows {
  const { rowLength, bosEveryRow = false } = options
  checkCount('rowLength', rowLength, bosEveryRow ? 2 : 1)
  if (options.rows !== undefined) checkCount('rows', options.rows, 1)
  const { bosTokenId } = tokenizer
  if (bosEveryRow && bosTokenId === undefined) {
    throw new CalibrationError(
      `${source.name}: every row is to begin with BOS, but the tokenizer names no BOS token; leave bosEveryRow out`,
    )
  }
  const texts = options.draw ? drawTexts(source, options.draw.texts, options.draw.seed) : source.texts
  const opening = !bosEveryRow && tokenizer.addsBos && bosTokenId !== undefined ? [bosTokenId] : []
  const textLength = bosEveryRow ? rowLength - 1 : rowLength
  const wanted = options.rows === undefined ? Number.POSITIVE_INFINITY : options.rows * textLength
  const stream = tokenise(texts.join(options.separator ?? '\n\n'), tokenizer, opening, wanted)
  const filled = Math.floor(stream.length / textLength)
  const rows = Math.min(filled, options.rows ?? filled)
  if (rows === 0 || rows < (options.rows ?? 1)) {
    throw new CalibrationError(
      `${source.name}: ${texts.length} ${texts.length === 1 ? 'text gives' : 'texts give'} ${stream.length} tokens, ${filled} row${filled === 1 ? '' : 's'} of ${rowLength}, expected ${options.rows ?? 'at least 1'}; ask for fewer or shorter rows, or give more text`,
    )
  }
  const ids = bosEveryRow ? withBos(stream, rows, rowLength, bosTokenId as number) : stream.slice(0, rows * rowLength)
  const bos = bosEveryRow ? 'every-row' : opening.length > 0 ? 'first' : 'none'
  const description = describeRows(source.name, { ids, rows, rowLength }, bos)
  const draw = options.draw ? { texts: options.draw.texts, seed: options.draw.seed } : {}
  return { ids, rows, rowLength, description: { ...description, ...draw } }
}

/** `count` different texts that are not blank, in the order drawn. Throws `CalibrationError` when there are fewer. */
export function drawTexts(source: Texts, count: number, seed: number): string[] {
  checkCount('texts', count, 1)
  const written = source.texts.filter((text) => /\S/.test(text))
  if (written.length < count) {
    throw new CalibrationError(
      `${source.name}: has ${written.length} text${written.length === 1 ? '' : 's'} that are not blank, expected at least ${count} to draw from; ask for fewer texts, or count rows instead`,
    )
  }
  return new Random(seed).sample(written.length, count).map((index) => written[index] as string)
}

const tokensSchema = z.object({ ids: z.array(z.unknown()) })

/**
 * Token ids made elsewhere, `{"ids": [...]}`, as rows in the order given; the incomplete last row is dropped. Throws
 * `CalibrationError` naming the first id that is no integer of 0..`vocabSize`-1, or how many rows there are.
 */
export async function readTokens(
  path: string,
  vocabSize: number,
  options: { readonly rowLength: number; readonly rows?: number },
): Promise<PackedRows> {
  const { rowLength } = options
  checkCount('rowLength', rowLength, 1)
  if (options.rows !== undefined) checkCount('rows', options.rows, 1)
  let json: unknown
  try {
    const bytes = await readFile(path)
    const pointer = lfsPointerMessage(path, bytes)
    if (pointer !== undefined) throw new CalibrationError(pointer)
    json = JSON.parse(bytes.toString('utf8'))
  } catch (cause) {
    if (cause instanceof CalibrationError) throw cause
    throw new CalibrationError(
      `${path}: cannot be read as JSON (${(cause as Error).message}), expected {"ids": [...]}; is it the file of ids?`,
      { cause },
    )
  }
  const parsed = tokensSchema.safeParse(json)
  if (!parsed.success) {
    throw new CalibrationError(
      `${path}: has no list "ids", expected {"ids": [1, 2, …]} with one flat list of token ids`,
    )
  }
  const list = parsed.data.ids
  const bad = list.findIndex((id) => typeof id !== 'number' || !Number.isInteger(id) || id < 0 || id >= vocabSize)
  if (bad >= 0) {
    throw new CalibrationError(
      `${path}: ids[${bad}] is ${JSON.stringify(list[bad])}, expected an integer of 0..${vocabSize - 1}; was the text tokenised for another model?`,
    )
  }
  const filled = Math.floor(list.length / rowLength)
  const rows = Math.min(filled, options.rows ?? filled)
  if (rows === 0 || rows < (options.rows ?? 1)) {
    throw new CalibrationError(
      `${path}: has ${list.length} ids, ${filled} row${filled === 1 ? '' : 's'} of ${rowLength}, expected ${options.rows ?? 'at least 1'}; ask for fewer or shorter rows`,
    )
  }
  const ids = Int32Array.from(list.slice(0, rows * rowLength) as number[])
  return { ids, rows, rowLength, description: describeRows(path, { ids, rows, rowLength }, 'none') }
}

/** What rows of a source are: how many, of what length, and their hash. */
export function describeRows(source: string, tokens: TokenRows, bos: RowsDescription['bos']): RowsDescription {
  const { ids, rows, rowLength } = tokens
  const fingerprints = fingerprintsOf(tokens, bos === 'every-row')
  return { source, rows, rowLength, tokens: ids.length, bos, sha256: sha256Of(ids), fingerprints }
}

/** Characters tokenised before counting again: small enough to stop soon after the last row, large enough not to matter. */
const stepCharacters = 20_000

/** Ids of the text from its start: all of them, or at least `wanted`. */
function tokenise(text: string, tokenizer: Tokenizer, opening: readonly number[], wanted: number): Int32Array {
  const parts: Int32Array[] = [Int32Array.from(opening)]
  let count = opening.length
  let start = 0
  while (start < text.length && count < wanted) {
    const cut = text.length - start > stepCharacters ? tokenizer.cut(text, start + stepCharacters) : -1
    const end = cut < 0 ? text.length : cut
    const ids = tokenizer.encode(text.slice(start, end))
    parts.push(ids)
    count += ids.length
    start = end
  }
  const stream = new Int32Array(count)
  let at = 0
  for (const part of parts) {
    stream.set(part, at)
    at += part.length
  }
  return stream
}

function withBos(stream: Int32Array, rows: number, rowLength: number, bos: number): Int32Array {
  const ids = new Int32Array(rows * rowLength).fill(bos)
  for (let row = 0; row < rows; row++) {
    ids.set(stream.subarray(row * (rowLength - 1), (row + 1) * (rowLength - 1)), row * rowLength + 1)
  }
  return ids
}

function sha256Of(ids: Int32Array): string {
  const bytes = new DataView(new ArrayBuffer(ids.length * 4))
  ids.forEach((id, i) => {
    bytes.setInt32(i * 4, id, true)
  })
  return createHash('sha256').update(new Uint8Array(bytes.buffer)).digest('hex')
}

function checkCount(name: string, value: number, least: number): void {
  if (!Number.isSafeInteger(value) || value < least) {
    throw new RangeError(`${name} is an integer of at least ${least}, found ${value}`)
  }
}
