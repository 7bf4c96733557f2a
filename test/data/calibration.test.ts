import { createHash } from 'node:crypto'
import { mkdtemp, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { beforeAll, describe, expect, test } from 'vitest'
import { drawTexts, packRows, readTokens } from '../../src/data/calibration.ts'
import { readTexts, type Texts } from '../../src/data/textSource.ts'
import type { Tokenizer } from '../../src/data/tokenizer.ts'
import { CalibrationError } from '../../src/errors.ts'
import { loadBrownTokenizer } from './brownTokenizer.ts'

/** One id per character, 1 for `a`; `|` may be cut after, as a real tokenizer may at a blank. */
function letters(
  bos: { readonly bosTokenId?: number; readonly addsBos?: boolean } = {},
): Tokenizer & { calls: string[] } {
  const calls: string[] = []
  return {
    calls,
    bosTokenId: bos.bosTokenId,
    addsBos: bos.addsBos ?? false,
    encode(text) {
      calls.push(text)
      return Int32Array.from(text, (letter) => (letter === '\n' ? 27 : letter.charCodeAt(0) - 96))
    },
    decode: () => '',
    cut: (text, from) => {
      const at = text.indexOf('|', from)
      return at < 0 ? -1 : at + 1
    },
  }
}

const alphabet: Texts = { name: 'alphabet:test', texts: ['abc', '', 'de'] }

describe('packRows', () => {
  test('joins texts by an empty line, empty ones included, cuts rows and drops the incomplete last one', () => {
    const packed = packRows(alphabet, letters(), { rowLength: 4 })
    expect([...packed.ids]).toEqual([1, 2, 3, 27, 27, 27, 27, 4])
    expect(packed).toMatchObject({ rows: 2, rowLength: 4 })
    expect(packed.description).toEqual({
      source: 'alphabet:test',
      rows: 2,
      rowLength: 4,
      tokens: 8,
      bos: 'none',
      sha256: createHash('sha256')
        .update(Buffer.from(Int32Array.from(packed.ids).buffer))
        .digest('hex'),
      fingerprints: [],
    })
  })

  test('takes another separator', () => {
    expect([...packRows(alphabet, letters(), { rowLength: 5, separator: '' }).ids]).toEqual([1, 2, 3, 4, 5])
  })

  test('puts one BOS at the very start when the tokenizer adds it', () => {
    const packed = packRows(alphabet, letters({ bosTokenId: 99, addsBos: true }), { rowLength: 4, rows: 2 })
    expect([...packed.ids]).toEqual([99, 1, 2, 3, 27, 27, 27, 27])
    expect(packed.description.bos).toBe('first')
  })

  test('puts none when the tokenizer only names it', () => {
    expect(packRows(alphabet, letters({ bosTokenId: 99 }), { rowLength: 4 }).description.bos).toBe('none')
  })

  test('begins every row with BOS on request, losing no token of the text', () => {
    const tokenizer = letters({ bosTokenId: 99, addsBos: true })
    const packed = packRows(alphabet, tokenizer, { rowLength: 4, bosEveryRow: true })
    expect([...packed.ids]).toEqual([99, 1, 2, 3, 99, 27, 27, 27, 99, 27, 4, 5])
    expect(packed.description.bos).toBe('every-row')
    expect(() => packRows(alphabet, letters(), { rowLength: 4, bosEveryRow: true })).toThrow('names no BOS token')
  })

  test('says how much text there was when the rows asked for are not filled', () => {
    expect(() => packRows(alphabet, letters(), { rowLength: 4, rows: 3 })).toThrow(
      new CalibrationError(
        'alphabet:test: 3 texts give 9 tokens, 2 rows of 4, expected 3; ask for fewer or shorter rows, or give more text',
      ),
    )
    expect(() => packRows(alphabet, letters(), { rowLength: 10 })).toThrow('0 rows of 10, expected at least 1')
  })

  test('draws texts with a seed and packs them in the order drawn', () => {
    const source = { name: 's', texts: ['a', 'b', 'c', 'd', 'e', ' ', ''] }
    const draw = { texts: 5, seed: 11 }
    const packed = packRows(source, letters(), { rowLength: 5, separator: '', draw })
    expect([...packed.ids].sort()).toEqual([1, 2, 3, 4, 5])
    expect([...packed.ids]).not.toEqual([1, 2, 3, 4, 5])
    expect(packed.description).toMatchObject({ texts: 5, seed: 11 })
    expect(packRows(source, letters(), { rowLength: 5, separator: '', draw }).ids).toEqual(packed.ids)
    expect(() => drawTexts(source, 6, 0)).toThrow('s: has 5 texts that are not blank, expected at least 6')
  })

  test('stops tokenising once the rows are filled', () => {
    const tokenizer = letters()
    const text = `${'a'.repeat(19_999)}|`.repeat(10)
    packRows({ name: 's', texts: [text] }, tokenizer, { rowLength: 10_000, rows: 3 })
    expect(tokenizer.calls.join('').length).toBeLessThan(80_000)
    expect(text.startsWith(tokenizer.calls.join(''))).toBe(true)
  })

  test('refuses counts that are none', () => {
    expect(() => packRows(alphabet, letters(), { rowLength: 0 })).toThrow(RangeError)
    expect(() => packRows(alphabet, letters(), { rowLength: 4, rows: 1.5 })).toThrow(RangeError)
  })
})

describe('packRows with the embedded model and corpus', () => {
  let tokenizer: Tokenizer
  beforeAll(async () => {
    tokenizer = await loadBrownTokenizer()
  })

  test('gives the first rows of the whole text when only some are asked for', async () => {
    const { name, texts } = await readTexts('embedded:test')
    const source = { name, texts: texts.slice(0, 300) }
    const whole = packRows(source, tokenizer, { rowLength: 256 })
    const some = packRows(source, tokenizer, { rowLength: 256, rows: 50 })
    expect(some.ids).toEqual(whole.ids.slice(0, 12_800))
    expect(whole.ids).toEqual(tokenizer.encode(source.texts.join('\n\n')).slice(0, whole.ids.length))
    expect(whole.rows).toBeGreaterThan(100)
  })
})

describe('readTokens', () => {
  const write = async (content: string) => {
    const path = join(await mkdtemp(join(tmpdir(), 'tokens-')), 'ids.json')
    await writeFile(path, content)
    return path
  }

  test('reads ids as rows and drops the incomplete last one', async () => {
    const path = await write('{"ids": [1, 2, 3, 4, 5]}')
    const packed = await readTokens(path, 6, { rowLength: 2 })
    expect([...packed.ids]).toEqual([1, 2, 3, 4])
    expect(packed.description).toMatchObject({ source: path, rows: 2, tokens: 4, bos: 'none' })
  })

  test('names the first id that is not of the vocabulary', async () => {
    await expect(readTokens(await write('{"ids": [1, 6, 7]}'), 6, { rowLength: 1 })).rejects.toThrow(
      'ids[1] is 6, expected an integer of 0..5',
    )
    await expect(readTokens(await write('{"ids": [1, "2"]}'), 6, { rowLength: 1 })).rejects.toThrow('ids[1] is "2"')
    await expect(readTokens(await write('{"ids": [0.5]}'), 6, { rowLength: 1 })).rejects.toThrow('ids[0] is 0.5')
  })

  test('says what the file should hold', async () => {
    await expect(readTokens(await write('[1, 2]'), 6, { rowLength: 1 })).rejects.toThrow('has no list "ids"')
    await expect(readTokens(await write('{"ids": ['), 6, { rowLength: 1 })).rejects.toThrow('cannot be read as JSON')
    await expect(readTokens('/nowhere/ids.json', 6, { rowLength: 1 })).rejects.toThrow(CalibrationError)
    await expect(readTokens(await write('{"ids": [1, 2, 3]}'), 6, { rowLength: 2, rows: 2 })).rejects.toThrow(
      'has 3 ids, 1 row of 2, expected 2',
    )
  })
})
