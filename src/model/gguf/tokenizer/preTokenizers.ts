/**
 * How a byte-level vocabulary cuts text before it merges, by `tokenizer.ggml.pre`.
 *
 * The names and what each does: ggml-org/llama.cpp, src/llama-vocab.cpp, commit 00ad355e. The expressions are those of the
 * models' own tokenizer.json (Oniguruma), where llama.cpp quotes them; elsewhere llama.cpp's, which give the same ids.
 * Models with rules that are not regular expressions (kimi-k2, afmoe, gemma4, …) are left out.
 */
import { UnsupportedModelError } from '../../../errors.ts'
import { deepseekLetters } from './deepseekLetters.ts'

export interface PreTokenizer {
  /** Applied one after the other, each to the pieces the one before left; a match is a piece, so is what lies between. */
  readonly splits: readonly string[]
  /** A piece that is a token is not merged anew. */
  readonly ignoreMerges?: true
  /** A bos token starts every text unless the file says otherwise. */
  readonly addBos?: true
  readonly normalizer?: 'NFC'
}

const contractions = "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
const gpt2Words = "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+"
const eachDigit = '\\p{N}'
const lineEnds = '\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+'
const llama3Words = `${contractions}|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|${lineEnds}`
const qwen2Words = `${contractions}|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|${lineEnds}`
const upper = '[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]'
const lower = '[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]'
const lead = '[^\\r\\n\\p{L}\\p{N}]?'
const cased = (tail: string) => `${lead}${upper}*${lower}+${tail}|${lead}${upper}+${lower}*${tail}`
const tekkenWords = `${cased('')}|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|${lineEnds}`
const gpt4oWords = `${cased(`${contractions}?`)}|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|${lineEnds}`
const bloomWords = ' ?[^(\\s|.,!?…。，、।۔،)]+'

const deepseekIdeographs = '[\u4e00-\u9fa5\u0800-\u4e00\uac00-\ud7ff]+'

const gpt2: PreTokenizer = { splits: [gpt2Words] }
const digits: PreTokenizer = { splits: [eachDigit, gpt2Words] }
const llama3: PreTokenizer = { splits: [llama3Words], ignoreMerges: true, addBos: true }
const llama3Split: PreTokenizer = { splits: [llama3Words] }
const qwen2: PreTokenizer = { splits: [qwen2Words] }
const gpt4o: PreTokenizer = { splits: [gpt4oWords] }
const bloom: PreTokenizer = { splits: [bloomWords] }
const bailing: PreTokenizer = {
  splits: [
    `'(?i:[sdmt]|ll|ve|re)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]|\\s+(?!\\S)|\\s+`,
  ],
}

const preTokenizers: Readonly<Record<string, PreTokenizer>> = {
  default: { splits: ['[\\p{P}\\$\\+<=>\\^~\\|]+', gpt2Words, '\\p{N}+', '[0-9][0-9][0-9]'] },
  'gpt-2': gpt2,
  'phi-2': gpt2,
  mpt: gpt2,
  olmo: gpt2,
  jais: gpt2,
  trillion: gpt2,
  exaone4: gpt2,
  mellum: gpt2,
  gigachat: gpt2,
  'a.x-4.0': gpt2,
  'granite-docling': gpt2,
  smollm: digits,
  starcoder: digits,
  refact: digits,
  'command-r': digits,
  codeshell: digits,
  exaone: digits,
  'minerva-7b': digits,
  falcon: { splits: ['[\\p{P}\\$\\+<=>\\^~\\|`]+', gpt2Words, '[0-9][0-9][0-9]'] },
  'llama-bpe': llama3,
  llama3,
  'llama-v3': llama3,
  falcon3: llama3,
  'falcon-h1': llama3,
  pixtral: llama3,
  'midm-2.0': llama3,
  lfm2: llama3,
  dbrx: llama3Split,
  'smaug-bpe': llama3Split,
  glm4: llama3Split,
  'chatglm-bpe': llama3Split,
  // Qwen's own tokenizer.json composes characters first, which llama.cpp leaves to the caller
  qwen2: { splits: [qwen2Words], normalizer: 'NFC' },
  'deepseek-r1-qwen': qwen2,
  megrez: qwen2,
  kormo: qwen2,
  hunyuan: qwen2,
  stablelm2: qwen2,
  'grok-2': qwen2,
  'solar-open': qwen2,
  qwen35: {
    splits: [
      `${contractions}|[^\\r\\n\\p{L}\\p{N}]?[\\p{L}\\p{M}]+|\\p{N}| ?[^\\s\\p{L}\\p{M}\\p{N}]+[\\r\\n]*|${lineEnds}`,
    ],
  },
  tekken: { splits: [tekkenWords], ignoreMerges: true, addBos: true },
  'gpt-4o': gpt4o,
  llama4: gpt4o,
  kanana2: gpt4o,
  'deepseek-llm': {
    splits: [
      '[\\r\\n]',
      `\\s?[${deepseekLetters}]+`,
      '\\s?[!-/:-~\uff01-\uff0f\uff1a-\uff5e\u2018-\u201f\u3000-\u3002]+',
      '\\s+$',
      deepseekIdeographs,
      '\\p{N}+',
    ],
  },
  'deepseek-coder': { splits: ['[\\r\\n]', '\\s?\\p{L}+', '\\s?\\p{P}+', deepseekIdeographs, eachDigit] },
  'deepseek-v3': {
    splits: [
      '\\p{N}{1,3}',
      '[\u4e00-\u9fa5\u3040-\u309f\u30a0-\u30ff]+',
      `[!"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_\`{|}~][A-Za-z]+|[^\\r\\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+| ?[\\p{P}\\p{S}]+[\\r\\n]*|${lineEnds}`,
    ],
  },
  bloom,
  'poro-chat': bloom,
  'gpt3-finnish': bloom,
  viking: { splits: [bloomWords, eachDigit] },
  'seed-coder': {
    splits: [`${contractions}|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}\\r\\n]+|${lineEnds}`],
  },
  bailingmoe: bailing,
  bailingmoe2: bailing,
  'llada-moe': bailing,
}

export const preTokenizerNames = Object.keys(preTokenizers)

/** The rules behind a name. Throws `UnsupportedModelError` listing the names there are. */
export function preTokenizerOf(name: string, path: string): PreTokenizer {
  const found = Object.hasOwn(preTokenizers, name) ? preTokenizers[name] : undefined
  if (!found) {
    throw new UnsupportedModelError(
      `${path}: has pre-tokenizer ${JSON.stringify(name)}, expected one of ${preTokenizerNames.join(', ')}; give a tokenizer.json of the model`,
    )
  }
  return found
}

/**
 * The name llama.cpp knows these rules by, the first in the table that means the same; undefined where it has none. The
 * normalizer has no say: llama.cpp leaves NFC to the caller under every name.
 */
export function preTokenizerNamed(splits: readonly string[], ignoreMerges: boolean): string | undefined {
  const wanted = JSON.stringify(splits)
  return preTokenizerNames.find((name) => {
    const rules = preTokenizers[name]
    return JSON.stringify(rules?.splits) === wanted && (rules?.ignoreMerges ?? false) === ignoreMerges
  })
}

/** The expressions that ByteLevel with `use_regex` and Digits with `individual_digits` stand for in tokenizer.json. */
export const namedSplits = { byteLevel: gpt2Words, eachDigit }
