import { CheckpointError } from '../../../errors.ts'
import { type MetadataSource, optionalString, requiredStrings } from '../fields.ts'
import { preTokenizerOf } from './preTokenizers.ts'
import { addedTokens, type BuiltTokenizer, endsOf, endsTemplate, vocabularyOf } from './vocabulary.ts'

/**
 * GPT-2's byte-level BPE: text split by the regular expressions of the file's pre-tokenizer, then merged over bytes. Only
 * `tokenizer.ggml.pre` says which expressions; a file without it is read as llama.cpp reads it, with "default".
 */
export function byteLevelBpe(source: MetadataSource): BuiltTokenizer {
  const vocabulary = vocabularyOf(source)
  const pre = preTokenizerOf(optionalString(source, 'tokenizer.ggml.pre') ?? 'default', source.path)
  const ends = endsOf(source, vocabulary, pre.addBos ?? false)
  return {
    vocabulary,
    ends,
    json: {
      version: '1.0',
      truncation: null,
      padding: null,
      added_tokens: addedTokens(vocabulary),
      normalizer: pre.normalizer ? { type: pre.normalizer } : null,
      pre_tokenizer: {
        type: 'Sequence',
        pretokenizers: [
          ...pre.splits.map((Regex) => ({ type: 'Split', pattern: { Regex }, behavior: 'Isolated', invert: false })),
          { type: 'ByteLevel', add_prefix_space: false, trim_offsets: true, use_regex: false },
        ],
      },
      post_processor: endsTemplate(ends),
      decoder: { type: 'ByteLevel', add_prefix_space: true, trim_offsets: true, use_regex: true },
      model: {
        type: 'BPE',
        dropout: null,
        unk_token: null,
        continuing_subword_prefix: null,
        end_of_word_suffix: null,
        fuse_unk: false,
        byte_fallback: false,
        ignore_merges: pre.ignoreMerges ?? false,
        vocab: Object.fromEntries(vocabulary.ids),
        merges: storedMerges(source, vocabulary.ids),
      },
    },
  }
}

/** `tokenizer.ggml.merges`, best first, each checked to join two tokens into a third. */
export function storedMerges(
  source: MetadataSource,
  ids: ReadonlyMap<string, number>,
): readonly (readonly [string, string])[] {
  return requiredStrings(source, 'tokenizer.ggml.merges').map((merge, rank) => {
    // as llama.cpp: a token may start with a space, and none has one inside
    const space = merge.indexOf(' ', 1)
    const left = merge.slice(0, space)
    const right = merge.slice(space + 1)
    if (space < 0 || !ids.has(left) || !ids.has(right) || !ids.has(left + right)) {
      throw new CheckpointError(
        `${source.path}: merge ${rank} is ${JSON.stringify(merge)}, expected two tokens that together are a third; is the vocabulary damaged?`,
      )
    }
    return [left, right]
  })
}
