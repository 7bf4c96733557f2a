import { CheckpointError, UnsupportedModelError } from '../../../errors.ts'
import { type MetadataSource, optionalBoolean, optionalNumbers } from '../fields.ts'
import { storedMerges } from './byteLevelBpe.ts'
import {
  addedTokens,
  type BuiltTokenizer,
  endsOf,
  endsTemplate,
  tokenTypes,
  type Vocabulary,
  vocabularyOf,
} from './vocabulary.ts'

/** SentencePiece writes a space as this. */
const SPACE = '▁'

/**
 * SentencePiece's BPE (Llama 1 and 2, Mistral, Gemma): no pre-tokenizer, a space is a character, characters outside the
 * vocabulary become their UTF-8 bytes. A space is put before the text, and again after every token matched whole, as
 * llama.cpp and the legacy tokenizers of transformers do, unless `add_space_prefix` is false.
 */
export function sentencePiece(source: MetadataSource): BuiltTokenizer {
  if (optionalBoolean(source, 'tokenizer.ggml.remove_extra_whitespaces') === true) {
    throw new UnsupportedModelError(
      `${source.path}: metadata "tokenizer.ggml.remove_extra_whitespaces" is true, expected false for a "llama" tokenizer; give a tokenizer.json of the model`,
    )
  }
  const vocabulary = vocabularyOf(source, { bos: 1, eos: 2, unk: 0 })
  const ends = endsOf(source, vocabulary, true)
  const prefixed = optionalBoolean(source, 'tokenizer.ggml.add_space_prefix') ?? true
  const toSpace = { type: 'Replace', pattern: { String: ' ' }, content: SPACE }
  return {
    vocabulary,
    ends,
    json: {
      version: '1.0',
      truncation: null,
      padding: null,
      added_tokens: addedTokens(vocabulary),
      normalizer: {
        type: 'Sequence',
        normalizers: prefixed ? [{ type: 'Prepend', prepend: SPACE }, toSpace] : [toSpace],
      },
      pre_tokenizer: null,
      post_processor: endsTemplate(ends),
      decoder: {
        type: 'Sequence',
        decoders: [
          { type: 'Replace', pattern: { String: SPACE }, content: ' ' },
          { type: 'ByteFallback' },
          { type: 'Fuse' },
          ...(prefixed ? [{ type: 'Strip', content: ' ', start: 1, stop: 0 }] : []),
        ],
      },
      model: {
        type: 'BPE',
        dropout: null,
        unk_token: vocabulary.special.unk?.content ?? null,
        continuing_subword_prefix: null,
        end_of_word_suffix: null,
        fuse_unk: true,
        byte_fallback: hasAllBytes(vocabulary),
        ignore_merges: false,
        vocab: Object.fromEntries(vocabulary.ids),
        merges: source.metadata.has('tokenizer.ggml.merges')
          ? storedMerges(source, vocabulary.ids)
          : mergesFromScores(source, vocabulary),
      },
    },
  }
}

function hasAllBytes({ ids }: Vocabulary): boolean {
  for (let byte = 0; byte < 256; byte++) {
    if (!ids.has(`<0x${byte.toString(16).toUpperCase().padStart(2, '0')}>`)) return false
  }
  return true
}

/**
 * The merges SentencePiece makes without listing them: it joins the two neighbours whose union is the token with the best
 * score. Every way to cut a token into two becomes a merge; better scores come first, and among the cuts of one token
 * those with the longer left part, as in transformers' `generate_merges`.
 *
 * Control, unknown, unused and byte tokens never come out of a merge, as in SentencePiece.
 */
export function mergesFromScores(
  source: MetadataSource,
  vocabulary: Vocabulary,
): readonly (readonly [string, string])[] {
  const { tokens, ids, typeOf } = vocabulary
  const scores = optionalNumbers(source, 'tokenizer.ggml.scores', tokens.length)
  if (!scores) {
    throw new CheckpointError(
      `${source.path}: has neither metadata "tokenizer.ggml.scores" nor "tokenizer.ggml.merges", expected one of them; is the vocabulary damaged?`,
    )
  }
  const joins = (id: number | undefined) =>
    id !== undefined && (typeOf(id) === tokenTypes.normal || typeOf(id) === tokenTypes.userDefined)
  const merges: Merge[] = []
  for (const [id, token] of tokens.entries()) {
    if (!joins(id)) continue
    const characters = Array.from(token)
    let left = ''
    for (let cut = 1; cut < characters.length; cut++) {
      left += characters[cut - 1]
      const right = token.slice(left.length)
      if (joins(ids.get(left)) && joins(ids.get(right))) {
        merges.push({ left, right, score: scores[id] ?? 0, leftLength: cut, rightLength: characters.length - cut })
      }
    }
  }
  merges.sort((a, b) => b.score - a.score || b.leftLength - a.leftLength || b.rightLength - a.rightLength)
  return merges.map(({ left, right }) => [left, right])
}

interface Merge {
  readonly left: string
  readonly right: string
  readonly score: number
  /** In characters. */
  readonly leftLength: number
  readonly rightLength: number
}
