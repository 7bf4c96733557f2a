import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { readColumns } from '../../src/data/columns.ts'
import { framedRows } from '../../src/data/framedRows.ts'
import { framingOf, specialTokenId } from '../../src/data/framing.ts'
import { labelledRows } from '../../src/data/labelledRows.ts'
import { maskedRows } from '../../src/data/maskedRows.ts'
import { pairRows } from '../../src/data/pairRows.ts'
import { spanRows } from '../../src/data/spanRows.ts'
import type { Tokenizer } from '../../src/data/tokenizer.ts'
import { CalibrationError } from '../../src/errors.ts'

/** A token for each word: its letter a..z is 10..35, `[CLS]` 1, `[SEP]` 2, `[MASK]` 3, `<extra_id_n>` 99-n. */
const words: Record<string, number> = { '[CLS]': 1, '[SEP]': 2, '[MASK]': 3, '</s>': 2 }
const tokenizer: Tokenizer = {
  bosTokenId: 1,
  addsBos: true,
  encode(text, { addSpecialTokens = false } = {}) {
    const ids = text.split(/\s+/).flatMap((word) => (word === '' ? [] : [idOf(word)]))
    return Int32Array.from(addSpecialTokens ? [1, ...ids, 2] : ids)
  },
  decode: (ids) => [...ids].map((id) => Object.keys(words).find((word) => words[word] === id) ?? wordOf(id)).join(' '),
  cut: () => -1,
}
const idOf = (word: string) => words[word] ?? 10 + (word.charCodeAt(0) - 97)
const wordOf = (id: number) => String.fromCharCode(97 + id - 10)

const alphabet = 'abcdefghijklmnopqrstuvwxyz'.split('')
const text = { name: 'letters', texts: [alphabet.join(' '), alphabet.toReversed().join(' ')] }

describe('framedRows', () => {
  it('puts every row between the special tokens of the tokenizer, and keeps the text in order', () => {
    const rows = framedRows(text, tokenizer, { rowLength: 10, rows: 3 })
    const lists = [0, 1, 2].map((row) => [...rows.ids.subarray(row * 10, row * 10 + 10)])
    for (const ids of lists) expect([ids[0], ids[9]]).toEqual([1, 2])
    expect(lists.flatMap((ids) => ids.slice(1, 9))).toEqual(Array.from({ length: 24 }, (_, i) => 10 + i))
    expect(rows.description).toMatchObject({ rowLength: 10, rows: 3 })
  })

  it('finds which tokens frame a text, on one side or none', () => {
    expect(framingOf(tokenizer)).toEqual({ opening: [1], closing: [2] })
    const bare = { ...tokenizer, encode: (of: string) => tokenizer.encode(of) }
    expect(framingOf(bare)).toEqual({ opening: [], closing: [] })
  })

  it('finds a special token by its name, and says which is missing', () => {
    expect(specialTokenId(tokenizer, '<mask>', '[MASK]')).toBe(3)
    expect(() => specialTokenId(tokenizer, '<mask>')).toThrow('<mask>')
  })
})

describe('maskedRows', () => {
  const rows = framedRows({ name: 'long', texts: Array(40).fill(alphabet.join(' ')) }, tokenizer, { rowLength: 102 })
  const options = { maskTokenId: 3, vocabSize: 36, seed: 4 }

  it('asks for 15 % of the text of each row, never for the tokens around it', () => {
    const { targets, rowLength } = maskedRows(rows, options)
    for (let row = 0; row < rows.rows; row++) {
      const wanted = targets!.subarray(row * rowLength, (row + 1) * rowLength)
      expect(wanted.filter((id) => id >= 0)).toHaveLength(15)
      expect([wanted[0], wanted[rowLength - 1]]).toEqual([-1, -1])
    }
  })

  it('asks for the token that was there and shows 80 % as the mask, 10 % as another, the rest as they are', () => {
    const { ids, targets } = maskedRows(rows, options)
    let [masked, same, other] = [0, 0, 0]
    for (const [i, target] of targets!.entries()) {
      if (target < 0) expect(ids[i]).toBe(rows.ids[i])
      else {
        expect(target).toBe(rows.ids[i])
        if (ids[i] === 3) masked++
        else if (ids[i] === target) same++
        else other++
      }
    }
    const all = masked + same + other
    expect(all).toBe(15 * rows.rows)
    expect(masked / all).toBeCloseTo(0.8, 1)
    expect(same / all).toBeCloseTo(0.1, 1)
    expect(other / all).toBeCloseTo(0.1, 1)
  })

  it('masks all of them where it is asked to, and draws the same with the same seed only', () => {
    const { ids, targets } = maskedRows(rows, { ...options, scheme: 'mask' })
    expect([...targets!].every((target, i) => target < 0 || ids[i] === 3)).toBe(true)
    expect(maskedRows(rows, options)).toEqual(maskedRows(rows, options))
    expect(maskedRows(rows, { ...options, seed: 5 }).targets).not.toEqual(maskedRows(rows, options).targets)
    expect(maskedRows(rows, options).description.prediction).toContain('seed 4')
  })
})

describe('spanRows', () => {
  const packed = framedRows(text, { ...tokenizer, encode: (of) => tokenizer.encode(of) }, { rowLength: 26 })
  const sentinelIds = [99, 98, 97, 96]
  const options = { sentinelIds, eosTokenId: 2, decoderStartTokenId: 0, seed: 1 }

  it('gives back the text when the spans are put where their sentinels stand', () => {
    const { ids, rowLength, rows, decoder } = spanRows(packed, { ...options, share: 0.3 })
    expect(decoder!.rows).toBe(2)
    for (let row = 0; row < rows; row++) {
      const source = [...ids.subarray(row * rowLength, (row + 1) * rowLength)]
      const target = [...decoder!.targets!.subarray(row * decoder!.rowLength, (row + 1) * decoder!.rowLength)]
      expect([source.at(-1), target.at(-1)]).toEqual([2, 2])
      const spans = new Map<number, number[]>()
      for (const id of target.slice(0, -1)) {
        if (sentinelIds.includes(id)) spans.set(id, [])
        else [...spans.values()].at(-1)!.push(id)
      }
      // 8 of 26 tokens in 3 spans, in the order of the sentinels
      expect([...spans.keys()]).toEqual([99, 98, 97])
      expect([...spans.values()].flat()).toHaveLength(8)
      const restored = source.slice(0, -1).flatMap((id) => spans.get(id) ?? [id])
      expect(restored).toEqual([...packed.ids.subarray(row * 26, row * 26 + 26)])
    }
  })

  it('lets the decoder read its targets shifted by one behind its start token', () => {
    const { decoder } = spanRows(packed, options)
    const { ids, targets, rowLength } = decoder!
    expect([...ids.subarray(0, rowLength)]).toEqual([0, ...targets!.subarray(0, rowLength - 1)])
  })

  it('draws the same with the same seed, and says when sentinels run out', () => {
    expect(spanRows(packed, options)).toEqual(spanRows(packed, options))
    const more = { ...options, share: 0.3 }
    expect(spanRows(packed, { ...more, seed: 2 }).ids).not.toEqual(spanRows(packed, more).ids)
    expect(() => spanRows(packed, { ...options, share: 0.5, meanSpan: 1 })).toThrow(CalibrationError)
  })
})

describe('pairRows', () => {
  const options = { source: 'pairs', eosTokenId: 2, padTokenId: 0, decoderStartTokenId: 7, rowLength: 6 }

  it('pads sources and targets, and predicts each target behind the start token', () => {
    const rows = pairRows(
      [
        ['a b', 'c'],
        ['d', 'e f'],
      ],
      tokenizer,
      options,
    )
    expect([...rows.ids]).toEqual([1, 10, 11, 2, 1, 13, 2, 0])
    expect([...rows.lengths!]).toEqual([4, 3])
    expect([...rows.decoder!.ids]).toEqual([7, 1, 12, 0, 7, 1, 14, 15])
    expect([...rows.decoder!.targets!]).toEqual([1, 12, 2, -1, 1, 14, 15, 2])
  })

  it('cuts what is too long and keeps its end token', () => {
    const rows = pairRows([[alphabet.join(' '), 'a']], tokenizer, options)
    expect([...rows.ids]).toEqual([1, 10, 11, 12, 13, 2])
  })

  it('appends the end token where the tokenizer does not', () => {
    const bare = { ...tokenizer, encode: (of: string) => tokenizer.encode(of) }
    expect([...pairRows([['a', 'b']], bare, options).decoder!.targets!]).toEqual([11, 2])
  })
})

describe('labelledRows', () => {
  const options = {
    source: 'labels',
    config: { label2id: { bad: 0, good: 2 } },
    classes: 3,
    padTokenId: 0,
    rowLength: 5,
  }

  it('asks the first position of each row for its class, by name or number', () => {
    const rows = labelledRows(
      [
        { text: 'a b c', label: 'good' },
        { text: 'd', label: 1 },
        { text: 'e', label: '2' },
      ],
      tokenizer,
      options,
    )
    expect(rows.rowLength).toBe(5)
    expect([0, 5, 10].map((at) => rows.targets![at])).toEqual([2, 1, 2])
    expect(rows.targets!.filter((target) => target >= 0)).toHaveLength(3)
    expect([...rows.lengths!]).toEqual([5, 3, 3])
  })

  it.each([3, 'fine', null, -1, 0.5])('refuses the label %o by its row', (label) => {
    expect(() =>
      labelledRows(
        [
          { text: 'a', label: 0 },
          { text: 'b', label },
        ],
        tokenizer,
        options,
      ),
    ).toThrow('row 1')
  })
})

describe('readColumns', () => {
  let folder: string
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'columns-'))
  })
  afterAll(() => rm(folder, { recursive: true, force: true }))

  const expected = [
    { source: 'a, "b"\nc', target: 'd' },
    { source: 'e', target: '' },
    { source: 'ü', target: 'f' },
  ]
  it.each([
    ['rows.jsonl', expected.map((row) => JSON.stringify(row)).join('\n\n')],
    ['rows.json', JSON.stringify(expected)],
    ['rows.csv', 'source,target\r\n"a, ""b""\nc",d\r\ne,\r\nü,f'],
    ['rows.tsv', 'source\ttarget\n"a, ""b""\nc"\td\ne\t\n\nü\tf\n'],
  ])('reads %s', async (name, content) => {
    await writeFile(join(folder, name), content)
    const table = await readColumns(join(folder, name), { '--column': 'source', '--target-column': 'target' })
    expect(table.rows).toEqual(expected)
    expect((await readColumns(join(folder, name), { '--column': 'target' }, 1)).rows).toHaveLength(1)
    await expect(readColumns(join(folder, name), { '--label-column': 'label' })).rejects.toThrow(
      'its columns are source, target; name one of them with --label-column',
    )
  })

  it.each([
    ['open.csv', 'source,target\n"a,b', 'Quote Not Closed'],
    ['narrow.csv', 'source,target\na,b\nc', 'got 1 on line 3); quote fields'],
    ['wide.tsv', 'source\ttarget\na\tb\tc', 'got 3 on line 2'],
    ['twice.csv', 'source,source\na,b', 'has two columns "source"'],
    ['damaged.jsonl', '{"source": ', 'is not JSON'],
    ['list.json', '{"source": 1}', 'list of objects'],
    ['rows.parquet', 'PAR1', 'cannot be read as parquet'],
    ['rows.txt', 'a', 'is no table'],
  ])('says what is wrong with %s', async (name, content, message) => {
    await writeFile(join(folder, name), content)
    await expect(readColumns(join(folder, name), { '--column': 'source' })).rejects.toThrow(message)
  })
})
