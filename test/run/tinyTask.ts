import { cpSync, mkdtempSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'

const letters = 'abcdefghijklmnopqrstuvwxyz'.split('')
const specials = ['[PAD]', '[UNK]', '[CLS]', '[SEP]', '[MASK]', ...[0, 1, 2, 3].map((n) => `<extra_id_${n}>`)]
const words = [...specials, ...letters, ...letters.map((letter) => `##${letter}`)]

/** Spells words by letters: 61 tokens, those that BERT and T5 need among them. */
const tokenizer = {
  version: '1.0',
  added_tokens: specials.map((content, id) => ({ id, content, special: true, normalized: false })),
  normalizer: {
    type: 'BertNormalizer',
    clean_text: true,
    handle_chinese_chars: true,
    strip_accents: null,
    lowercase: true,
  },
  pre_tokenizer: { type: 'BertPreTokenizer' },
  post_processor: { type: 'BertProcessing', sep: ['[SEP]', 3], cls: ['[CLS]', 2] },
  decoder: { type: 'WordPiece', prefix: '##', cleanup: true },
  model: {
    type: 'WordPiece',
    unk_token: '[UNK]',
    continuing_subword_prefix: '##',
    max_input_chars_per_word: 100,
    vocab: Object.fromEntries(words.map((word, id) => [word, id])),
  },
}

/** A copy of the model in `test/fixtures/<path>`, of 61 or more tokens, with a tokenizer. */
export function withTokenizer(path: string): string {
  const folder = mkdtempSync(join(tmpdir(), 'tiny-task-'))
  cpSync(resolve(import.meta.dirname, '../fixtures', path), folder, { recursive: true })
  writeFileSync(join(folder, 'tokenizer.json'), JSON.stringify(tokenizer))
  writeFileSync(join(folder, 'tokenizer_config.json'), '{}')
  return folder
}
