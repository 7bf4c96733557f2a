import { describe, expect, test } from 'vitest'
import { packRows } from '../../src/data/calibration.ts'
import { fingerprintsOf, sharedPassage } from '../../src/data/overlap.ts'
import { readTexts } from '../../src/data/textSource.ts'
import { Random } from '../../src/tensor/random.ts'
import type { TokenRows } from '../../src/types.ts'
import { loadBrownTokenizer } from './brownTokenizer.ts'

function randomIds(length: number, seed: number): number[] {
  const random = new Random(seed)
  return Array.from({ length }, () => random.below(4096))
}

function rowsOf(ids: readonly number[], rowLength: number): TokenRows {
  const rows = Math.floor(ids.length / rowLength)
  return { ids: Int32Array.from(ids.slice(0, rows * rowLength)), rows, rowLength }
}

describe('sharedPassage', () => {
  const text = randomIds(4096, 1)
  const fingerprints = fingerprintsOf(rowsOf(text, 256), false)

  test('finds the same text again in rows of another length, from another offset', () => {
    const shifted = rowsOf([...randomIds(1000, 2), ...text.slice(77)], 100)
    // 4096 / 32 windows, of which the first three begin before token 77 and the last ends in the row that was dropped
    expect(sharedPassage(fingerprints, shifted, false)).toEqual({ row: 10, token: 19, found: 124, of: 128 })
  })

  test('finds every copied passage of 63 tokens and says where it begins, give or take one window', () => {
    for (let start = 0; start < 64; start++) {
      const copied = rowsOf([...randomIds(500, 3), ...text.slice(start, start + 63), ...randomIds(300, 4)], 1)
      const passage = sharedPassage(fingerprints, copied, false)
      expect(passage?.found).toBe(1)
      expect((passage?.row ?? 0) - 500).toBeGreaterThanOrEqual(0)
      expect((passage?.row ?? 0) - 500).toBeLessThan(32)
    }
  })

  test('finds nothing in another text, nor in one that shares less than a window', () => {
    expect(sharedPassage(fingerprints, rowsOf(randomIds(200_000, 5), 256), false)).toBeUndefined()
    const short = rowsOf([...randomIds(100, 6), ...text.slice(0, 31), ...randomIds(100, 7)], 1)
    expect(sharedPassage(fingerprints, short, false)).toBeUndefined()
  })

  test('looks past the BOS of every row on either side', () => {
    const withBos = (ids: readonly number[], rowLength: number) =>
      rowsOf(
        ids.flatMap((id, i) => (i % (rowLength - 1) === 0 ? [0, id] : [id])),
        rowLength,
      )
    const every = fingerprintsOf(withBos(text, 20), true)
    expect(every.length).toBe(Math.floor((Math.floor((4096 + 216) / 20) * 19) / 32))
    expect(sharedPassage(every, rowsOf(text, 256), false)?.found).toBe(every.length)
    expect(sharedPassage(fingerprints, withBos(text, 300), true)).toMatchObject({ row: 0, token: 1 })
  })

  test('leaves out what the text repeats itself, and windows of few different tokens', () => {
    const template = randomIds(64, 8)
    const drawn = [...template, ...randomIds(100, 9), ...template, ...randomIds(100, 10)]
    const others = rowsOf([...template, ...randomIds(500, 11)], 1)
    expect(sharedPassage(fingerprintsOf(rowsOf(drawn, 4), false), others, false)).toBeUndefined()
    const ruler = [...new Array(16).fill(7), ...new Array(16).fill(8)]
    expect(fingerprintsOf(rowsOf([...ruler, ...randomIds(64, 13)], 32), false)).toHaveLength(2)
  })

  test('keeps at most 1,024 fingerprints, spread over the whole text', () => {
    const long = randomIds(200_000, 12)
    const thinned = fingerprintsOf(rowsOf(long, 2000), false)
    expect(thinned).toHaveLength(1024)
    expect([...thinned].sort()).toEqual(thinned)
    // every sixth or seventh window is kept, so 8 · 32 + 31 tokens hold one
    for (const start of [0, 99_000, 199_700]) {
      expect(sharedPassage(thinned, rowsOf(long.slice(start, start + 287), 1), false)).toBeDefined()
    }
  })

  test('tells the two halves of the embedded corpus apart, and knows each again', async () => {
    const tokenizer = await loadBrownTokenizer()
    const train = packRows(await readTexts('embedded'), tokenizer, { rowLength: 256, rows: 64 })
    const heldOut = packRows(await readTexts('embedded:test'), tokenizer, { rowLength: 128, rows: 128 })
    expect(train.description.fingerprints.length).toBeGreaterThan(500)
    expect(sharedPassage(train.description.fingerprints, heldOut, false)).toBeUndefined()
    const again = packRows(await readTexts('embedded'), tokenizer, { rowLength: 100, rows: 20 })
    expect(sharedPassage(train.description.fingerprints, again, false)).toMatchObject({ row: 0, token: 0 })
  })
})
