import { CalibrationError } from '../errors.ts'
import type { TokenRows } from '../types.ts'
import { paddedRows } from './paddedRows.ts'
import { cutTo } from './pairRows.ts'
import type { Texts } from './textSource.ts'
import type { Tokenizer } from './tokenizer.ts'

export interface SentenceOptions {
  /** Sentences at most, taken at equal distances from all of the source. */
  readonly sentences: number
  readonly padTokenId: number
  /** Tokens of a sentence at most; longer ones are cut, their last token kept. */
  readonly rowLength: number
}

/** Sentences padded together: few, and of similar lengths, so that little of a row is padding. */
const batchRows = 32

/**
 * Sentences as an encoder embeds them: one a row between the tokenizer's special tokens, not packed, the shortest first. How long a
 * batch is padded does not matter, as attention does not see padding. Throws `CalibrationError` for a source without a sentence.
 */
export function sentenceRows(source: Texts, tokenizer: Tokenizer, options: SentenceOptions): TokenRows[] {
  const found = source.texts.flatMap(sentencesOf)
  if (found.length === 0) throw new CalibrationError(`${source.name}: has no sentence, expected text`)
  const count = Math.min(options.sentences, found.length)
  const lists = Array.from({ length: count }, (_, i) => found[Math.floor((i * found.length) / count)]!)
    .map((text) => cutTo(tokenizer.encode(text, { addSpecialTokens: true }), options.rowLength))
    .sort((a, b) => a.length - b.length)
  return Array.from({ length: Math.ceil(count / batchRows) }, (_, batch) =>
    paddedRows(source.name, lists.slice(batch * batchRows, (batch + 1) * batchRows), options.padTokenId),
  )
}

/** The sentences of a text that have a letter in them. */
function sentencesOf(text: string): string[] {
  const segments = new Intl.Segmenter('en', { granularity: 'sentence' }).segment(text)
  return [...segments].map(({ segment }) => segment.trim()).filter((sentence) => /\p{L}/u.test(sentence))
}
