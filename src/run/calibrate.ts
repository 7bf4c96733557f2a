import { type PackedRows, packRows, readTokens } from '../data/calibration.ts'
import { readTexts } from '../data/textSource.ts'
import { loadTokenizer } from '../data/tokenizer.ts'
import type { Model } from '../model/model.ts'

/** Where rows of tokens come from and how many. */
export interface RowsRequest {
  /** A text file, a data set id or `embedded`. */
  readonly dataset: string
  /** Ready token ids instead of a text: a JSON file `{"ids": [...]}`. */
  readonly tokens?: string | undefined
  readonly column?: string | undefined
  /** Rows; undefined: as many as the text fills. */
  readonly nsamples?: number | undefined
  /** Tokens a row. */
  readonly seqlen: number
  /** Draw this many texts with `seed` and pack only those. */
  readonly texts?: number | undefined
  readonly seed: number
  readonly bosEveryRow?: boolean | undefined
}

/** Packed rows of tokens for `model`. Throws `CalibrationError` when there is not enough text or an id the model lacks. */
export async function readRows(model: Model, request: RowsRequest): Promise<PackedRows> {
  const { nsamples, seqlen: rowLength, texts, seed, column } = request
  const size = { rowLength, ...(nsamples !== undefined && { rows: nsamples }) }
  const vocabSize = model.sizes['V']!
  if (request.tokens !== undefined) return readTokens(request.tokens, vocabSize, size)
  const tokenizer = await loadTokenizer(model.assets, vocabSize)
  const source = await readTexts(request.dataset, column === undefined ? {} : { column })
  return packRows(source, tokenizer, {
    ...size,
    ...(texts !== undefined && { draw: { texts, seed } }),
    ...(request.bosEveryRow !== undefined && { bosEveryRow: request.bosEveryRow }),
  })
}
