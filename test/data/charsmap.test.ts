import { readFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { charsmapNormalizer } from '../../src/data/charsmap.ts'

/** SentencePiece's nmt_nfkc table. */
const table = JSON.parse(
  readFileSync(new URL('../fixtures/tokenizers/like-t5/tokenizer.json', import.meta.url), 'utf8'),
).normalizer.normalizers[0].precompiled_charsmap as string

// right: what Precompiled of tokenizers 0.23.3 (Python) gives with the same table
test.each([
  ['ligatures', 'ﬁn', 'fin'],
  ['a grapheme below six bytes by its shortest prefix, which loses its accent', 'ﬁ\u0301n', 'fin'],
  ['a longer grapheme character by character', 'ﬁ\u0301\u0301n', 'fi\u0301\u0301n'],
  ['a letter with its accent', 'e\u0301a', 'éa'],
  ['an accent after ASCII between others', '½e\u0301½', '1⁄2é1⁄2'],
  ['a line end of two characters as one', 'a\r\nb', 'a b'],
  ['blanks and widths', 'x\u3000y～', 'x y～'],
  ['blanks of no width', 'a\tb\u200bc', 'a b c'],
  ['half width', 'ｶﾞ', 'カ\u3099'],
  ['numbers in circles', '①②', '12'],
  ['what the table does not name', '\u0600a\u0000가\u00ad', '\u0600a\u0000가\u00ad'],
])('replaces %s as the Rust library does', (_, text, expected) => {
  expect(charsmapNormalizer(table)?.(text)).toBe(expected)
})

test('is undefined for a table that is damaged', () => {
  expect(charsmapNormalizer('')).toBeUndefined()
  expect(charsmapNormalizer(table.slice(0, 1000))).toBeUndefined()
})
