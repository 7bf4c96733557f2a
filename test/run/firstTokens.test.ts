import { expect, it } from 'vitest'
import { firstTokens } from '../../src/run/firstTokens.ts'

it('cuts rows, their lengths and what a decoder reads beside them', () => {
  const ids = Int32Array.from({ length: 12 }, (_, i) => i)
  const decoder = { ids: ids.map((id) => 100 + id), rows: 3, rowLength: 4 }
  expect(firstTokens({ ids, rows: 3, rowLength: 4, lengths: Int32Array.of(4, 1, 2), decoder }, 2, 3)).toEqual({
    ids: Int32Array.of(0, 1, 2, 4, 5, 6),
    rows: 2,
    rowLength: 3,
    lengths: Int32Array.of(3, 1),
    decoder: { ids: Int32Array.of(100, 101, 102, 104, 105, 106), rows: 2, rowLength: 3 },
  })
  const short = { ids, rows: 3, rowLength: 4 }
  expect(firstTokens(short, 9, 9)).toEqual(short)
})
