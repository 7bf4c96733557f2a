import { describe, expect, test } from 'vitest'
import {
  elementCount,
  findRole,
  keptRuns,
  keptUnits,
  parseAxes,
  pieceAxes,
  pieceRuns,
  type Runs,
  shapeOf,
  sliceTensor,
} from '../../src/model/axes.ts'

const sizes = { D: 3, K: 3, G: 2, E: 2, F: 4, V: 7 }

const fused = [
  '(K G E | K E | K E) D',
  '(K (E | E | E)) D',
  '(K (G E | E | E)) D',
  'D (K E | K E | K E)',
  '(F | F) D',
  '(K G E | K E | K E)',
]
const plain = ['D', '(K G E) D', 'D (K G E)', 'F D', 'D F', '(K E)', 'V D', 'E']

/** Every index tuple of a tensor, written out as the letters' own indices: the slow truth the runs are compared with. */
interface Origin {
  readonly piece: number
  readonly letters: Readonly<Record<string, number>>
}
type Sum = ReturnType<typeof parseAxes>['dimensions'][number]

function originsOf(sum: Sum): Origin[] {
  return sum.flatMap((product, index) => {
    let origins: Origin[] = [{ piece: sum.length > 1 ? index : -1, letters: {} }]
    for (const factor of product) {
      const inner: Origin[] =
        typeof factor === 'string'
          ? Array.from({ length: sizes[factor as keyof typeof sizes] }, (_, i) => ({
              piece: -1,
              letters: { [factor]: i },
            }))
          : originsOf(factor)
      origins = origins.flatMap((outer) =>
        inner.map((item) => ({
          piece: Math.max(outer.piece, item.piece),
          letters: { ...outer.letters, ...item.letters },
        })),
      )
    }
    return origins
  })
}

const indicesOf = (runs: Runs) =>
  runs.flatMap(([start, length]) => Array.from({ length }, (_, offset) => start + offset))

describe('the axes language', () => {
  test('gives the shape and element count of plain and fused tensors', () => {
    expect(shapeOf('(K G E) D', sizes)).toEqual([12, 3])
    expect(shapeOf('D', sizes)).toEqual([3])
    expect(shapeOf('(K G E | K E | K E) D', sizes)).toEqual([24, 3])
    expect(shapeOf('(K (G E | E | E)) D', sizes)).toEqual([24, 3])
    expect(shapeOf('D (K E | K E | K E)', sizes)).toEqual([3, 18])
    expect(shapeOf('(F | F) D', sizes)).toEqual([8, 3])
    expect(elementCount('(F | F) D', sizes)).toBe(24)
  })

  test('parses each text once', () => {
    expect(parseAxes('(K G E) D')).toBe(parseAxes('(K G E) D'))
    expect(parseAxes('(K G E) D').pieces).toBe(1)
    expect(parseAxes('(K (G E | E | E)) D').pieces).toBe(3)
  })

  test.each([
    ['', 'axes "": is empty'],
    ['(K G', 'leaves a "(" open'],
    ['K)', 'has ")"'],
    ['(K |) D', 'has ")"'],
    ['k D', 'has "k"'],
    ['()', 'has ")"'],
    ['(F | F) (F | F)', 'fuses 2 times'],
  ])('says where "%s" leaves the grammar', (text, message) => {
    expect(() => parseAxes(text)).toThrow(message)
  })

  test('names a letter without a size, and the letters that have one', () => {
    expect(() => shapeOf('(K Q) D', sizes)).toThrow('letter "Q" has no size, expected one of D, K, G, E, F, V')
  })
})

describe('removing units', () => {
  test('removes a key/value head with all its query heads as contiguous runs', () => {
    expect(keptRuns('(K G E) D', sizes, 'K', [0, 2])).toEqual([
      [
        [0, 4],
        [8, 4],
      ],
      [[0, 3]],
    ])
    expect(keptRuns('(K G E) D', sizes, 'K', [1, 2])).toEqual([[[4, 8]], [[0, 3]]])
  })

  test('cuts the parts of every piece of a fused tensor', () => {
    const parts = keptRuns('(K G E | K E | K E) D', sizes, 'K', [1])
    expect(parts[0]).toEqual([
      [4, 4],
      [14, 2],
      [20, 2],
    ])
    expect(keptRuns('(F | F) D', sizes, 'F', [0, 3])[0]).toEqual([
      [0, 1],
      [3, 2],
      [7, 1],
    ])
  })

  test('keeps nothing of a dimension whose units all go', () => {
    const shape = shapeOf('(K G E) D', sizes)
    expect(sliceTensor(new Float32Array(36), 1, shape, keptRuns('(K G E) D', sizes, 'K', []))).toHaveLength(0)
  })

  test.each([...plain, ...fused])('agrees with the index-by-index definition for %s', (axes) => {
    const dimensions = parseAxes(axes).dimensions
    for (const unit of ['K', 'F']) {
      for (const kept of [[], [0], [2], [0, 2], [1, 2], [0, 1, 2]]) {
        const runs = keptRuns(axes, sizes, unit, kept)
        for (const [d, sum] of dimensions.entries()) {
          const expected = originsOf(sum).flatMap((origin, index) =>
            origin.letters[unit] === undefined || kept.includes(origin.letters[unit]) ? [index] : [],
          )
          expect(indicesOf(runs[d]!)).toEqual(expected)
        }
        expect(runs.map((r) => indicesOf(r).length)).toEqual(shapeOf(axes, { ...sizes, [unit]: kept.length }))
      }
    }
  })

  test('lists the units that stay and refuses one that does not exist', () => {
    expect(keptUnits(4, [2, 0, 2])).toEqual([1, 3])
    expect(() => keptUnits(4, [4])).toThrow('unit 4 cannot be removed, expected 0 to 3')
  })
})

describe('pieces of a fused tensor', () => {
  test.each(fused)('lie where the index-by-index definition says for %s', (axes) => {
    const { dimensions, pieces } = parseAxes(axes)
    for (let piece = 0; piece < pieces; piece++) {
      const runs = pieceRuns(axes, sizes, piece)
      for (const [d, sum] of dimensions.entries()) {
        const expected = originsOf(sum).flatMap((o, index) => (o.piece < 0 || o.piece === piece ? [index] : []))
        expect(indicesOf(runs[d]!)).toEqual(expected)
      }
      expect(runs.map((r) => indicesOf(r).length)).toEqual(shapeOf(pieceAxes(axes, piece), sizes))
    }
  })

  test('have the axes of the tensor they would be alone', () => {
    expect([0, 1, 2].map((piece) => pieceAxes('(K (G E | E | E)) D', piece))).toEqual([
      '(K G E) D',
      '(K E) D',
      '(K E) D',
    ])
    expect(pieceAxes('(F | F) D', 1)).toBe('F D')
    expect(pieceAxes('D (K E | K E | K E)', 2)).toBe('D (K E)')
    expect(() => pieceRuns('(F | F) D', sizes, 2)).toThrow('piece 2 asked for, expected 0 to 1')
  })

  test('are found by role in a weight table', () => {
    const table = {
      'qProj|kProj|vProj': ['attn.qkv.weight', '(K G E | K E | K E) D'],
      oProj: ['attn.o.weight', 'D (K G E)'],
    } as const
    expect(findRole(table, 'oProj')).toEqual({ name: 'attn.o.weight', axes: 'D (K G E)' })
    expect(findRole(table, 'vProj')).toEqual({ name: 'attn.qkv.weight', axes: '(K G E | K E | K E) D', piece: 2 })
    expect(findRole(table, 'qNorm')).toBeUndefined()
  })
})

describe('slicing a tensor', () => {
  const shape = [3, 2, 4]
  const floats = Float32Array.from({ length: 24 }, (_, i) => i)
  const runs: Runs[] = [
    [
      [0, 1],
      [2, 1],
    ],
    [[0, 2]],
    [[1, 2]],
  ]

  test('copies the wanted elements in row-major order', () => {
    expect([...sliceTensor(floats, 1, shape, runs)]).toEqual([1, 2, 5, 6, 17, 18, 21, 22])
    expect([...sliceTensor(floats, 1, shape, [[[1, 2]], [[0, 2]], [[0, 4]]])]).toEqual([...floats.subarray(8)])
  })

  test('gives the same bytes as slicing the values, whatever the element size', () => {
    const bytes = new Uint8Array(floats.buffer)
    expect(new Float32Array(sliceTensor(bytes, 4, shape, runs).buffer)).toEqual(sliceTensor(floats, 1, shape, runs))
    const halves = Uint16Array.from({ length: 24 }, (_, i) => i * 257)
    const cut = new Uint16Array(sliceTensor(new Uint8Array(halves.buffer), 2, shape, runs).buffer)
    expect([...cut].map((value) => value / 257)).toEqual([...sliceTensor(floats, 1, shape, runs)])
  })

  test('returns a copy even when everything is kept', () => {
    const copy = sliceTensor(floats, 1, shape, [[[0, 3]], [[0, 2]], [[0, 4]]])
    expect(copy).toEqual(floats)
    expect(copy.buffer).not.toBe(floats.buffer)
  })

  test('refuses runs outside the tensor and values that do not fill the shape', () => {
    expect(() => sliceTensor(floats, 1, [4, 6], [[[3, 2]], [[0, 6]]])).toThrow('run [3, 5) of dimension 0')
    expect(() => sliceTensor(floats, 2, shape, runs)).toThrow('got 24 items and runs for 3 dimensions, expected 48')
  })
})
