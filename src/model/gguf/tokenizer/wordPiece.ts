import { CheckpointError } from '../../../errors.ts'
import { type MetadataSource, optionalBoolean } from '../fields.ts'
import {
  addedTokens,
  type BuiltTokenizer,
  type Token,
  templateTokens,
  type Vocabulary,
  vocabularyOf,
} from './vocabulary.ts'

/** The longest word BERT's tokenizer looks into; longer ones are unknown. */
const MAX_WORD_CHARACTERS = 100

/**
 * BERT's WordPiece. llama.cpp's converter stores the start of a word as "▁word" and a continuation "##ing" as "ing"; here
 * they get BERT's spelling back. Text is lowercased unless the file says otherwise or its tokens hold capitals: not ℝ, which
 * BERT's uncased vocabulary has, because there is no small one.
 */
export function wordPiece(source: MetadataSource): BuiltTokenizer {
  const stored = vocabularyOf(source, { bos: 101, unk: 100, sep: 102, pad: 0, mask: 103 })
  const vocabulary = inBertSpelling(stored)
  const lowercase =
    optionalBoolean(source, 'tokenizer.ggml.normalizer.lowercase') ??
    !vocabulary.tokens.some((token) => !isBracketed(token) && token !== token.toLowerCase())
  const cls = vocabulary.special.cls ?? vocabulary.special.bos
  const { sep, unk } = vocabulary.special
  if (!cls || !sep || !unk) {
    throw new CheckpointError(
      `${source.path}: names no ${!cls ? 'cls' : !sep ? 'separator' : 'unknown'} token, expected one in a "bert" tokenizer; is the vocabulary damaged?`,
    )
  }
  return {
    vocabulary,
    ends: { bos: cls, eos: sep },
    json: {
      version: '1.0',
      truncation: null,
      padding: null,
      added_tokens: addedTokens(vocabulary),
      normalizer: {
        type: 'BertNormalizer',
        clean_text: true,
        handle_chinese_chars: true,
        strip_accents: optionalBoolean(source, 'tokenizer.ggml.normalizer.strip_accents') ?? null,
        lowercase,
      },
      pre_tokenizer: { type: 'BertPreTokenizer' },
      post_processor: {
        type: 'TemplateProcessing',
        single: [special(cls, 0), sequence('A', 0), special(sep, 0)],
        pair: [special(cls, 0), sequence('A', 0), special(sep, 0), sequence('B', 1), special(sep, 1)],
        special_tokens: templateTokens([cls, sep]),
      },
      decoder: { type: 'WordPiece', prefix: '##', cleanup: true },
      model: {
        type: 'WordPiece',
        unk_token: unk.content,
        continuing_subword_prefix: '##',
        max_input_chars_per_word: MAX_WORD_CHARACTERS,
        vocab: Object.fromEntries(vocabulary.ids),
      },
    },
  }
}

const special = ({ content: id }: Token, type_id: number) => ({ SpecialToken: { id, type_id } })
const sequence = (id: string, type_id: number) => ({ Sequence: { id, type_id } })

function isBracketed(token: string): boolean {
  return token.startsWith('[') && token.endsWith(']')
}

function inBertSpelling(stored: Vocabulary): Vocabulary {
  const tokens = stored.tokens.map((token) =>
    isBracketed(token) ? token : token.startsWith('▁') ? token.slice(1) : `##${token}`,
  )
  return { ...stored, tokens, ids: new Map(tokens.map((token, id) => [token, id])) }
}
