import { CalibrationError } from '../errors.ts'
import { describeRows, type PackedRows } from './calibration.ts'
import { paddedRows } from './paddedRows.ts'
import type { Tokenizer } from './tokenizer.ts'

export interface PairOptions {
  readonly source: string
  readonly eosTokenId: number
  readonly padTokenId: number
  readonly decoderStartTokenId: number
  /** Tokens of a source or target at most; longer ones are cut, their last token kept. */
  readonly rowLength: number
}

/**
 * Pairs of texts as an encoder-decoder reads them, one a row: the source with the special tokens of the tokenizer, and the target
 * that the decoder is to write, shifted by one behind its start token. Both end in </s>. Throws `CalibrationError` for no pairs.
 */
export function pairRows(
  pairs: readonly (readonly [source: string, target: string])[],
  tokenizer: Tokenizer,
  { source, eosTokenId, padTokenId, decoderStartTokenId, rowLength }: PairOptions,
): PackedRows {
  if (pairs.length === 0)
    throw new CalibrationError(`${source}: has no pairs, expected rows with a source and a target`)
  const encode = (text: string) => {
    const ids = tokenizer.encode(text, { addSpecialTokens: true })
    return cutTo(ids.at(-1) === eosTokenId ? ids : Int32Array.of(...ids, eosTokenId), rowLength)
  }
  const sources = paddedRows(
    source,
    pairs.map(([text]) => encode(text)),
    padTokenId,
  )
  const wanted = pairs.map(([, text]) => encode(text))
  const targets = paddedRows(source, wanted, -1)
  const inputs = wanted.map((ids) => Int32Array.of(decoderStartTokenId, ...ids.subarray(0, -1)))
  const decoder = { ...paddedRows(source, inputs, padTokenId), targets: targets.ids }
  const description = { ...describeRows(source, sources, 'none'), prediction: 'the target of each pair' }
  return { ...sources, decoder, description }
}

/** At most `length` tokens, the last one among them. */
export function cutTo(ids: Int32Array, length: number): Int32Array {
  return ids.length <= length ? ids : Int32Array.of(...ids.subarray(0, length - 1), ids.at(-1)!)
}
