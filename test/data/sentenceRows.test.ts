import { describe, expect, it } from 'vitest'
import { sentenceRows } from '../../src/data/sentenceRows.ts'
import { loadTokenizer } from '../../src/data/tokenizer.ts'
import { CalibrationError } from '../../src/errors.ts'
import { assetsOf } from './brownTokenizer.ts'

const fixture = new URL('../fixtures/tokenizers/all-minilm-l6-v2/', import.meta.url)
const tokenizer = await loadTokenizer(assetsOf(fixture), 30522)
const [cls, sep] = [101, 102]
const options = { sentences: 100, padTokenId: 0, rowLength: 16 }
const source = {
  name: 'three paragraphs',
  texts: ['The cat sat. It slept all day, and then it ran away!', '* * *', 'Is this one? Yes.'],
}

describe('sentenceRows', () => {
  it('gives every sentence a row of its own between the special tokens, the shortest first', () => {
    const [rows, ...others] = sentenceRows(source, tokenizer, options)
    expect(others).toEqual([])
    const lists = [...rows!.lengths!].map((length, row) => [
      ...rows!.ids.subarray(row * rows!.rowLength, row * rows!.rowLength + length),
    ])
    const sentences = ['Yes.', 'The cat sat.', 'Is this one?', 'It slept all day, and then it ran away!']
    expect(lists).toEqual(sentences.map((text) => [cls, ...tokenizer.encode(text), sep]))
    const padding = [...rows!.ids].filter(
      (_, i) => i % rows!.rowLength >= rows!.lengths![Math.floor(i / rows!.rowLength)]!,
    )
    expect(padding.length).toBeGreaterThan(0)
    expect(new Set(padding)).toEqual(new Set([0]))
  })

  it('cuts a long sentence and keeps its last token', () => {
    const [rows] = sentenceRows(source, tokenizer, { ...options, rowLength: 4 })
    expect(rows!.rowLength).toBe(4)
    const last = [...rows!.lengths!].map((length, row) => rows!.ids[row * 4 + length - 1])
    expect(new Set(last)).toEqual(new Set([sep]))
  })

  it('takes sentences at equal distances from the whole source, in batches of equal lengths', () => {
    const many = { name: 'many', texts: Array.from({ length: 400 }, (_, i) => `Number ${i}.`) }
    const batches = sentenceRows(many, tokenizer, { ...options, sentences: 100 })
    expect(batches.map(({ rows }) => rows)).toEqual([32, 32, 32, 4])
    const texts = batches.flatMap(({ ids, rows, rowLength, lengths }) =>
      Array.from({ length: rows }, (_, row) =>
        tokenizer.decode(ids.subarray(row * rowLength + 1, row * rowLength + lengths![row]! - 1)),
      ),
    )
    const numbers = texts.map((text) => Number(/\d+/.exec(text))).sort((a, b) => a - b)
    expect(numbers).toEqual(Array.from({ length: 100 }, (_, i) => 4 * i))
  })

  it('refuses a source without a sentence', () => {
    expect(() => sentenceRows({ name: 'dots', texts: ['...', '1 2'] }, tokenizer, options)).toThrow(CalibrationError)
  })
})
