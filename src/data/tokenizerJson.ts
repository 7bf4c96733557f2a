import { UnsupportedModelError } from '../errors.ts'

/** What to do without a tokenizer that can be used, whatever the model predicts. */
export const idsInstead =
  'tokenise elsewhere and pass the ids with --tokens, with --task hiddenStates where the model predicts no next token'

/** A parsed tokenizer.json, or one of its parts. */
export type Json = Readonly<Record<string, unknown>>

/**
 * The same tokenizer, written so that @huggingface/tokenizers 0.2.0 reads it as the Rust library does. Where the two read
 * a part differently, the part is replaced by others with the same meaning that both read alike; each rule below says
 * what differs. Throws `UnsupportedModelError` for a part that has no such spelling, instead of guessing ids.
 */
export function spelledForLibrary(tokenizer: Json): Json {
  const model = (tokenizer['model'] ?? {}) as Json
  refuseModel(model)
  return {
    ...tokenizer,
    added_tokens: tokenizer['added_tokens'] ?? [],
    normalizer: respelledNormalizer(tokenizer['normalizer']),
    pre_tokenizer: splitLongWords(respelledPreTokenizer(tokenizer['pre_tokenizer']), model),
    post_processor: tokenizer['post_processor'] ?? null,
    decoder: tokenizer['decoder'] ?? null,
  }
}

/** Unicode white space, as Rust and Oniguruma mean `\s`; JavaScript's adds U+FEFF and misses U+0085. */
const space = '\\p{White_Space}'
/** Punctuation as BERT means it: ASCII symbols count. */
const punctuation = '\\p{P}\\u0021-\\u002F\\u003A-\\u0040\\u005B-\\u0060\\u007B-\\u007E'
/** GPT-2's words (openai/gpt-2, src/encoder.py). */
const gpt2Words = `'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^${space}\\p{L}\\p{N}]+|${space}+(?!\\P{White_Space})|${space}+`
/** The blocks BERT writes blanks around (google-research/bert, tokenization.py). */
const chinese =
  '\\u4E00-\\u9FFF\\u3400-\\u4DBF\\u{20000}-\\u{2A6DF}\\u{2A700}-\\u{2B73F}\\u{2B740}-\\u{2B81F}\\u{2B920}-\\u{2CEAF}\\uF900-\\uFAFF\\u{2F800}-\\u{2FA1F}'

/** Pieces that match, gaps dropped. */
const pieces = (regex: string): Json => ({
  type: 'Split',
  pattern: { Regex: regex },
  behavior: 'Removed',
  invert: true,
})
const replace = (regex: string, content: string): Json => ({ type: 'Replace', pattern: { Regex: regex }, content })
const normalizers = (...list: readonly unknown[]): Json => ({ type: 'Sequence', normalizers: list })
const preTokenizers = (...list: readonly unknown[]): Json => ({ type: 'Sequence', pretokenizers: list })

function respelledNormalizer(part: unknown): unknown {
  if (part === null || part === undefined) return null
  const json = part as Json
  switch (json['type']) {
    case 'Sequence':
      return normalizers(...((json['normalizers'] ?? []) as unknown[]).map(respelledNormalizer))
    case 'BertNormalizer':
      return bertNormalizer(json)
    case 'Lowercase':
      return lowercase
    case 'Replace':
      // the library hands the content to replaceAll, where `$` would start a reference
      return { ...json, content: String(json['content'] ?? '').replaceAll('$', '$$$$') }
    case 'Strip':
      return normalizers(
        ...(json['strip_left'] === true ? [replace(`\\A${space}+`, '')] : []),
        ...(json['strip_right'] === true ? [replace(`${space}+\\z`, '')] : []),
      )
    default:
      return json
  }
}

/** JavaScript writes a capital sigma at the end of a word as `ς`; Rust lowers each character on its own. */
const lowercase = normalizers(replace('Σ', 'σ'), { type: 'Lowercase' })

/** The library tests UTF-16 halves for Chinese, takes unassigned characters for text, and has JavaScript's blanks. */
function bertNormalizer(json: Json): Json {
  const stripAccents = json['strip_accents'] ?? json['lowercase'] === true
  return normalizers(
    ...(json['clean_text'] === true
      ? [replace('(?![\\t\\n\\r])[\\p{Cc}\\p{Cf}\\p{Co}\\uFFFD]', ''), replace(space, ' ')]
      : []),
    ...(json['handle_chinese_chars'] === true ? [replace(`[${chinese}]`, ' $& ')] : []),
    ...(stripAccents === true ? [{ type: 'NFD' }, replace('\\p{Mn}', '')] : []),
    ...(json['lowercase'] === true ? [lowercase] : []),
  )
}

function respelledPreTokenizer(part: unknown): unknown {
  if (part === null || part === undefined) return null
  const json = part as Json
  switch (json['type']) {
    case 'Sequence':
      return preTokenizers(...((json['pretokenizers'] ?? []) as unknown[]).map(respelledPreTokenizer))
    case 'ByteLevel':
      return json['use_regex'] === false ? json : byteLevel(json)
    case 'BertPreTokenizer':
      return pieces(`[^${space}${punctuation}]+|[${punctuation}]`)
    case 'Whitespace':
      // the library has no Unicode letters here
      return pieces(
        '[\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}\\p{Join_Control}]+|[^\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}\\p{Join_Control}\\p{White_Space}]+',
      )
    case 'WhitespaceSplit':
      return pieces('\\P{White_Space}+')
    case 'Digits':
      // the library has ASCII digits only
      return pieces(json['individual_digits'] === true ? '\\P{N}+|\\p{N}' : '\\P{N}+|\\p{N}+')
    case 'Punctuation':
      return behaviour(`[${punctuation}]`, `[^${punctuation}]`, String(json['behavior'] ?? 'Isolated'))
    case 'Metaspace':
      return metaspace(json)
    case 'Split':
      return split(json)
    default:
      return json
  }
}

function byteLevel(json: Json): Json {
  // with blanks replaced by blanks, Metaspace does nothing but put one in front where there is none
  const blank = { type: 'Metaspace', replacement: ' ', prepend_scheme: 'always' }
  const prefix = json['add_prefix_space'] === true ? [blank] : []
  return preTokenizers(...prefix, pieces(gpt2Words), { ...json, use_regex: false, add_prefix_space: false })
}

/** The library does not split at the replaced blanks, and does not know the older `add_prefix_space: false`. */
function metaspace(json: Json): Json {
  const mark = String(json['replacement'] ?? '▁')
  const scheme = json['prepend_scheme'] ?? (json['add_prefix_space'] === false ? 'never' : 'always')
  const marked = { ...json, prepend_scheme: scheme }
  return json['split'] === false ? marked : preTokenizers(marked, pieces(`${mark}[^${mark}]*|[^${mark}]+`))
}

/** The library knows one behaviour, Isolated, and drops the gaps of an inverted pattern whatever the behaviour. */
function split(json: Json): Json {
  const kind = String(json['behavior'] ?? 'Removed')
  if (kind === 'Removed') return json
  if (kind === 'Isolated') return { ...json, invert: false }
  const literal = ((json['pattern'] ?? {}) as Json)['String']
  if (typeof literal === 'string' && [...literal].length === 1 && json['invert'] !== true) {
    const escaped = `\\u{${(literal.codePointAt(0) ?? 0).toString(16)}}`
    return behaviour(escaped, `[^${escaped}]`, kind)
  }
  throw new UnsupportedModelError(
    `tokenizer.json: pre-tokenizer Split has behavior "${kind}" for ${JSON.stringify(json['pattern'])}, expected Removed or Isolated for a pattern; ${idsInstead}`,
  )
}

/** One character class and its complement, cut as a `SplitDelimiterBehavior` of the Rust library says. */
function behaviour(delimiter: string, other: string, kind: string): Json {
  switch (kind) {
    case 'Removed':
      return pieces(`${other}+`)
    case 'Isolated':
      return pieces(`${other}+|${delimiter}`)
    case 'Contiguous':
      return pieces(`${other}+|${delimiter}+`)
    case 'MergedWithPrevious':
      return pieces(`${other}*${delimiter}|${other}+`)
    case 'MergedWithNext':
      return pieces(`${delimiter}${other}*|${other}+`)
    default:
      throw new UnsupportedModelError(`tokenizer.json: behavior "${kind}" of a pre-tokenizer is unknown; ${idsInstead}`)
  }
}

/**
 * Llama 2's and Gemma's byte pairs see a whole text as one word. Where no merge joins anything to a following `▁`, no
 * merge can cross a place before a run of `▁`, so that cutting there changes nothing and makes words short enough for
 * the library's cache.
 */
function splitLongWords(preTokenizer: unknown, model: Json): unknown {
  if (model['type'] !== 'BPE' || model['ignore_merges'] === true || hasWords(preTokenizer)) return preTokenizer
  const merges = (model['merges'] ?? []) as readonly (string | readonly [string, string])[]
  const crosses = merges.some((merge) => {
    const [left, right] = typeof merge === 'string' ? merge.split(' ', 2) : merge
    return right?.startsWith('▁') === true && left?.endsWith('▁') !== true
  })
  if (crosses) return preTokenizer
  const words = pieces('▁+[^▁]*|[^▁]+')
  return preTokenizer === null ? words : preTokenizers(preTokenizer, words)
}

/** Whether a pre-tokenizer cuts words by a rule of its own, other than at a blank that the normalizer left none of. */
function hasWords(preTokenizer: unknown): boolean {
  if (preTokenizer === null) return false
  const json = preTokenizer as Json
  if (json['type'] === 'Metaspace') return false
  if (json['type'] === 'Sequence') return ((json['pretokenizers'] ?? []) as unknown[]).some(hasWords)
  return !JSON.stringify(json['pattern'] ?? '').includes('\\\\u{20}')
}

function refuseModel(model: Json): void {
  const found =
    model['type'] === 'Unigram' && model['byte_fallback'] === true
      ? 'Unigram with byte_fallback'
      : model['type'] === 'BPE' && model['continuing_subword_prefix']
        ? 'BPE with continuing_subword_prefix'
        : undefined
  if (found) {
    throw new UnsupportedModelError(
      `tokenizer.json: model is ${found}, expected BPE, WordPiece or Unigram without it; ${idsInstead}`,
    )
  }
}
