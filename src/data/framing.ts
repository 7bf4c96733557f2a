import { CalibrationError } from '../errors.ts'
import type { Tokenizer } from './tokenizer.ts'

/** The special tokens that a tokenizer puts around a text: BERT's [CLS] and [SEP], T5's </s>. */
export interface Framing {
  readonly opening: readonly number[]
  readonly closing: readonly number[]
}

/** What `tokenizer` puts around a text. */
export function framingOf(tokenizer: Tokenizer): Framing {
  const bare = tokenizer.encode('a')
  const framed = [...tokenizer.encode('a', { addSpecialTokens: true })]
  const start = framed.findIndex((_, i) => bare.every((id, j) => framed[i + j] === id))
  if (start < 0) return { opening: [], closing: [] }
  return { opening: framed.slice(0, start), closing: framed.slice(start + bare.length) }
}

/** The id of a special token written as `text`. Throws `CalibrationError` where the tokenizer has none of that name. */
export function specialTokenId(tokenizer: Tokenizer, ...texts: readonly string[]): number {
  for (const text of texts) {
    const ids = tokenizer.encode(text)
    if (ids.length === 1 && tokenizer.decode(ids).trim() === text) return ids[0]!
  }
  throw new CalibrationError(`tokenizer.json: has no token ${texts.join(' or ')}; is it the tokenizer of this model?`)
}
