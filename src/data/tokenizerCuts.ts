import type { Json } from './tokenizerJson.ts'

/**
 * Whether a text may be cut where a letter meets a single blank and another letter, so that the ids of the parts, put
 * together, are the ids of the whole. It holds when
 *
 * - no normalizer joins characters over the blank (canonical and compatibility forms compose nothing with U+0020);
 * - some pre-tokenizer never puts a letter and a following blank into one word, and the others treat the two sides apart;
 * - no added token contains a letter and a following blank, or strips the blank after a letter it ends with.
 *
 * Models work word by word, so nothing else looks over the cut. Only parts that were checked by hand are known here:
 * for any other the answer is no, and the text is encoded whole.
 */
export function mayCutBetweenWords(tokenizer: Json): boolean {
  const roles = preTokenizerRoles(tokenizer['pre_tokenizer'])
  const addedTokens = (tokenizer['added_tokens'] ?? []) as readonly Json[]
  return (
    isLocalNormalizer(tokenizer['normalizer']) &&
    roles.includes('cuts') &&
    !roles.includes('unknown') &&
    !addedTokens.some(reachesOverCut)
  )
}

/** First position at or after `from` between a letter and a blank before another letter, or -1. */
export function cutBetweenWords(text: string, from: number): number {
  const pattern = /(\p{L}) \p{L}/gu
  pattern.lastIndex = from
  const match = pattern.exec(text)
  return match === null ? -1 : match.index + (match[1] as string).length
}

function reachesOverCut(token: Json): boolean {
  const content = String(token['content'])
  return /\p{L} /u.test(content) || (token['rstrip'] === true && /\p{L}$/u.test(content))
}

function isLocalNormalizer(part: unknown): boolean {
  if (part === null || part === undefined) return true
  const json = part as Json
  switch (json['type']) {
    case 'Sequence':
      return ((json['normalizers'] ?? []) as unknown[]).every(isLocalNormalizer)
    case 'Replace': {
      const literal = ((json['pattern'] ?? {}) as Json)['String']
      return typeof literal === 'string' && [...literal].length === 1
    }
    default:
      return localNormalizers.has(String(json['type']))
  }
}

const localNormalizers = new Set(['NFC', 'NFD', 'NFKC', 'NFKD', 'Lowercase', 'StripAccents', 'BertNormalizer'])

/** `cuts` ends a word before the blank, `passes` treats the sides of the cut apart wherever words end. */
type Role = 'cuts' | 'passes' | 'unknown'

function preTokenizerRoles(part: unknown): Role[] {
  if (part === null || part === undefined) return ['unknown']
  const json = part as Json
  switch (json['type']) {
    case 'Sequence':
      return ((json['pretokenizers'] ?? []) as unknown[]).flatMap(preTokenizerRoles)
    case 'ByteLevel':
      return [json['use_regex'] === false ? (json['add_prefix_space'] === true ? 'unknown' : 'passes') : 'cuts']
    case 'Metaspace':
      return [json['split'] === false ? 'unknown' : 'cuts']
    case 'Whitespace':
    case 'WhitespaceSplit':
    case 'BertPreTokenizer':
      return ['cuts']
    case 'Digits':
    case 'Punctuation':
      return ['passes']
    case 'Split':
      return [wordPattern(json) ? 'cuts' : digitPattern(json) ? 'passes' : 'unknown']
    default:
      return ['unknown']
  }
}

/** Patterns of digits cut the sides of a blank apart from each other. */
function digitPattern(json: Json): boolean {
  const regex = ((json['pattern'] ?? {}) as Json)['Regex']
  return json['behavior'] === 'Isolated' && (regex === '\\p{N}{1,3}' || regex === '\\p{N}' || regex === '\\d')
}

function wordPattern(json: Json): boolean {
  const regex = ((json['pattern'] ?? {}) as Json)['Regex']
  const behaves = json['behavior'] === 'Isolated' || (json['behavior'] === 'Removed' && json['invert'] === true)
  return behaves && typeof regex === 'string' && alternatives(regex).every((part) => wordAlternatives.has(part))
}

/**
 * Alternatives of the patterns of GPT-2, cl100k, o200k, Llama 3, Qwen 2 and Tekken. None can match a letter with a blank
 * after it, and none looks past a blank that follows a letter.
 */
const wordAlternatives = new Set([
  ...["'s", "'t", "'re", "'ve", "'m", "'ll", "'d"],
  "(?i:'s|'t|'re|'ve|'m|'ll|'d)",
  '(?i:[sdmt]|ll|ve|re)',
  "'(?i:[sdmt]|ll|ve|re)",
  ...[
    ' ?\\p{L}+',
    ' ?\\p{N}+',
    ' ?[^\\s\\p{L}\\p{N}]+',
    ' ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*',
    ' ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*',
  ],
  ...['[^\\r\\n\\p{L}\\p{N}]?\\p{L}+', '[^\\r\\n\\p{L}\\p{N}]?[\\p{L}\\p{M}]+'],
  ...['\\p{N}', '\\p{N}{1,3}'],
  '[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]*[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]+',
  '[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]+[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]*',
  "[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]*[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
  "[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]+[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
  ...['\\s*[\\r\\n]+', '\\s*[\\r\\n]', '\\s+(?!\\S)', '\\s+'],
])

/** A pattern cut at the `|` outside of groups and classes. */
function alternatives(regex: string): string[] {
  const parts = ['']
  let depth = 0
  for (const token of regex.match(/\\.|[\s\S]/gu) ?? []) {
    if (token === '(' || token === '[') depth++
    if (token === ')' || token === ']') depth--
    if (token === '|' && depth === 0) parts.push('')
    else parts[parts.length - 1] += token
  }
  return parts
}
