import { readdirSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { describe, expect, it } from 'vitest'
import { type Dims, newLetters } from '../../src/graph/dimensions.ts'
import { buildGraph, type Graph } from '../../src/graph/graph.ts'
import type { ElementType, Operation, OperationAttributes, Value } from '../../src/graph/operations.ts'
import { programOf } from '../../src/graph/program.ts'
import { shapeOfResult } from '../../src/graph/shapes.ts'
import { openModel } from '../../src/model/load.ts'

/** `B,T,D`, or `int64 B,T`. */
type Text = string

interface Case<Op extends Operation> {
  readonly with?: OperationAttributes[Op]
  readonly of: readonly Text[]
  /** Undefined: refused. */
  readonly gives?: Text
}

const unary = [
  { of: ['B,T,F'], gives: 'B,T,F' },
  { of: [''], gives: '' },
  { of: ['int64 B,T'] },
  { of: ['B,T', 'B,T'] },
  { of: [] },
]
const overLast = [{ of: ['N,V'], gives: 'N,V' }, { of: [''] }, { of: ['int64 N,V'] }]
const elementwise = [
  { of: ['B,T,D', 'B,T,D'], gives: 'B,T,D' },
  { of: ['B,T,D', 'D'], gives: 'B,T,D' },
  { of: ['D', 'B,T,D'], gives: 'B,T,D' },
  { of: ['B,1,1,S', 'B,4,T,S'], gives: 'B,4,T,S' },
  { of: ['B,1,T', '3,1'], gives: 'B,3,T' },
  { of: ['B,T,D', 'B,T,F'] },
  { of: ['B,T,D', 'T'] },
  { of: ['B,T', 'B,7'] },
  { of: ['B,T,D'] },
  { of: ['B,T', 'int64 B,T'] },
]
const heads = { heads: 4, kvHeads: 2, scale: 1, window: undefined, softcap: undefined }
const places = ['int32 B', 'int32 ']
const many = { heads: 4, scale: 1, causal: false, padded: false, biased: false }

const cases: { readonly [Op in Operation]: readonly Case<Op>[] } = {
  linear: [
    { of: ['B,T,D', 'F,D'], gives: 'B,T,F' },
    { of: ['B,T,D', 'D,F'], with: { inputFirst: true }, gives: 'B,T,F' },
    { of: ['N,D', 'V,D', 'V'], gives: 'N,V' },
    { of: ['N,D', 'V,D', '1,V'], gives: 'N,V' },
    { of: ['D', 'F,D'], gives: 'F' },
    { of: ['B,T,D', 'D,F'] },
    { of: ['B,T,D', 'F,D'], with: { inputFirst: true } },
    { of: ['B,T,D', 'F,D', 'D'] },
    { of: ['B,T,D', 'F,D', '2,F'] },
    { of: ['B,T,D', '4,F,D'] },
    { of: ['B,T,D'] },
    { of: ['int64 B,T,D', 'F,D'] },
    { of: ['B,T,D', 'F,D', 'F', 'F'] },
  ],
  matmul: [
    { of: ['B,K,T,E', 'B,K,E,S'], gives: 'B,K,T,S' },
    { of: ['B,K,4,T,E', 'B,K,1,E,S'], gives: 'B,K,4,T,S' },
    { of: ['T,E', 'B,E,S'], gives: 'B,T,S' },
    { of: ['T,E', 'S,E'] },
    { of: ['B,T,E', 'T,E,S'] },
    { of: ['E', 'E,S'] },
    { of: ['T,E', 'int64 E,S'] },
  ],
  add: elementwise,
  mul: elementwise,
  div: elementwise,
  rmsNorm: [
    { of: ['B,T,D', 'D'], with: { epsilon: 1e-6 }, gives: 'B,T,D' },
    { of: ['B,T,D', 'F'], with: { epsilon: 1e-6 } },
    { of: ['B,T,D', 'D', 'D'], with: { epsilon: 1e-6 } },
    { of: ['B,T,D', '1,D'], with: { epsilon: 1e-6 } },
  ],
  layerNorm: [
    { of: ['B,T,D', 'D', 'D'], with: { epsilon: 1e-6 }, gives: 'B,T,D' },
    { of: ['B,T,D', 'D'], with: { epsilon: 1e-6 }, gives: 'B,T,D' },
    { of: ['B,T,D', 'D', 'F'], with: { epsilon: 1e-6 } },
    { of: ['B,T,D'], with: { epsilon: 1e-6 } },
  ],
  rowLength: [{ of: ['V,D'], gives: 'V' }, { of: ['V'] }, { of: ['B,V,D'] }],
  silu: unary,
  gelu: unary,
  geluTanh: unary,
  quickGelu: unary,
  relu: unary,
  squaredRelu: unary,
  tanh: unary,
  embedding: [
    { of: ['V,D', 'int64 B,T'], gives: 'B,T,D' },
    { of: ['P,D', 'int64 T'], gives: 'T,D' },
    { of: ['V,D', 'B,T'] },
    { of: ['V', 'int64 B,T'] },
  ],
  countPositions: [
    { of: ['int64 B,T'], with: { offset: 2, uncounted: 1 }, gives: 'int64 B,T' },
    { of: ['B,T'], with: { offset: 2, uncounted: 1 } },
    { of: ['int64 T'], with: { offset: 2, uncounted: 1 } },
  ],
  reshape: [
    { of: ['B,T,24'], with: { shape: [0, 0, 4, 6] }, gives: 'B,T,4,6' },
    { of: ['B,T,Q'], with: { shape: [0, 0, 4, 6] }, gives: 'B,T,4,6' },
    { of: ['B,T,4,6'], with: { shape: [0, 0, 24] }, gives: 'B,T,24' },
    { of: ['B,4,1,T,6'], with: { shape: [0, 0, -1, 6] }, gives: 'B,4,T,6' },
    { of: ['B,4,P+T,6'], with: { shape: [0, 0, 1, -1, 6] }, gives: 'B,4,1,P+T,6' },
    { of: ['B,T,D'], with: { shape: [-1] }, gives: 'B*T*D' },
    { of: ['int64 B,T'], with: { shape: [0, 0, 1] }, gives: 'int64 B,T,1' },
    { of: ['B,T,24'], with: { shape: [0, 0, 5, 6] } },
    { of: ['B,T,24'], with: { shape: [0, 0, -1, 7] } },
    { of: ['B,T,24'], with: { shape: [0, 4, 6] } },
    { of: ['B,T,24'], with: { shape: [0, -1, -1] } },
    { of: ['B,T'], with: { shape: [0, 0, 0] } },
    { of: ['K,G'], with: { shape: [4, 2] } },
  ],
  transpose: [
    { of: ['B,T,4,6'], with: { order: [0, 2, 1, 3] }, gives: 'B,4,T,6' },
    { of: ['int64 B,T'], with: { order: [1, 0] }, gives: 'int64 T,B' },
    { of: ['B,T,D'], with: { order: [0, 1] } },
    { of: ['B,T,D'], with: { order: [0, 1, 1] } },
    { of: ['B,T,D'], with: { order: [0, 1, 3] } },
  ],
  slice: [
    { of: ['B,T,16'], with: { axis: -1, start: 8, end: 16 }, gives: 'B,T,8' },
    { of: ['A,D'], with: { axis: 0, start: 0, end: 1 }, gives: '1,D' },
    { of: ['B,T,16'], with: { axis: -1, start: 8, end: 17 } },
    { of: ['B,T,16'], with: { axis: 2, start: 8, end: 8 } },
    { of: ['B,T,16'], with: { axis: 3, start: 0, end: 1 } },
  ],
  concat: [
    { of: ['B,T,8', 'B,T,8', 'B,T,4'], with: { axis: -1 }, gives: 'B,T,20' },
    { of: ['B,K,P,E', 'B,4,T,16'], with: { axis: 2 }, gives: 'B,K,P+T,E' },
    { of: ['B,T,8', 'B,S,8'], with: { axis: -1 } },
    { of: ['B,T,8', 'T,8'], with: { axis: -1 } },
    { of: ['B,T,8', 'int64 B,T,8'], with: { axis: -1 } },
    { of: ['B,T,8', 'B,T,8'], with: { axis: 3 } },
    { of: [], with: { axis: 0 } },
  ],
  gather: [
    { of: ['1,K,T,T', 'int64 H'], with: { axis: 1 }, gives: '1,H,T,T' },
    { of: ['1,K,T,T', 'H'], with: { axis: 1 } },
    { of: ['1,K,T,T', 'int64 1,H'], with: { axis: 1 } },
    { of: ['K', 'int64 H'], with: { axis: 1 } },
  ],
  scale: unary.map((each) => ({ ...each, with: { by: 2 } })),
  roundToBfloat16: unary,
  shift: unary.map((each) => ({ ...each, with: { by: 2 } })),
  softmax: overLast,
  logProbability: [
    { of: ['N,V', 'int64 N'], with: { vocabulary: 100 }, gives: 'N' },
    { of: ['N,V', 'int64 N,W'], with: { vocabulary: 100 }, gives: 'N,W' },
    { of: ['N,V', 'N'], with: { vocabulary: 100 } },
    { of: ['N,V', 'int64 V'], with: { vocabulary: 100 } },
    { of: ['N,V', 'int64 B,T,W'], with: { vocabulary: 100 } },
  ],
  logSumExp: [{ of: ['N,V'], gives: 'N' }, { of: [''] }, { of: ['int64 N,V'] }],
  outputDistance: [
    { of: ['N,V', 'N,V'], with: { measure: 'js' }, gives: 'N' },
    { of: ['N,V', 'N,D'], with: { measure: 'js' } },
    { of: ['N,V'], with: { measure: 'js' } },
  ],
  pick: [
    { of: ['N,V', 'int64 N'], gives: 'N' },
    { of: ['N,V', 'int64 V'] },
    { of: ['N,V', 'N'] },
    { of: ['N,V', 'int64 N,W'] },
  ],
  largest: [
    { of: ['N,V', 'int64 1'], gives: 'N,W' },
    { of: ['N,V', 'int64 2'] },
    { of: ['N,V', 'int64 '] },
    { of: ['N,V', '1'] },
  ],
  sum: [
    { of: ['B,T,D'], with: { axes: [0, 1], keepDims: false }, gives: 'D' },
    { of: ['B,T,D'], with: { axes: [2], keepDims: true }, gives: 'B,T,1' },
    { of: ['B,T,D'], with: { axes: [3], keepDims: true } },
    { of: ['int64 B,T'], with: { axes: [0], keepDims: true } },
  ],
  mean: [{ of: ['B,T,D'], gives: 'B,T,1' }, { of: [''] }, { of: ['int64 B,T'] }],
  reciprocalRoot: unary,
  exp: unary,
  erf: unary,
  sigmoid: unary,
  step: unary,
  reshapeLike: [
    { of: ['B,T,4,6', 'B,T,24'], gives: 'B,T,24' },
    { of: ['B,T,Q', 'B,T,4,6'], gives: 'B,T,4,6' },
    { of: ['B,T,4,6', 'B,T,Q'], gives: 'B,T,Q' },
    { of: ['B,T,4,6', 'B,T,25'] },
    { of: ['B,T,6', 'B,6'] },
    { of: ['B,6', 'B,T,6'] },
    { of: ['B,T,D', 'B,T,F'] },
    { of: ['B,T,D'] },
  ],
  padLike: [
    { of: ['B,T,8', 'B,T,16'], with: { axis: -1, start: 8 }, gives: 'B,T,16' },
    { of: ['1,D', 'A,D'], with: { axis: 0, start: 0 }, gives: 'A,D' },
    { of: ['B,T,8', 'B,T,16'], with: { axis: -1, start: 9 } },
    { of: ['B,T,8', 'B,S,16'], with: { axis: -1, start: 8 } },
    { of: ['B,T,8', 'T,16'], with: { axis: -1, start: 8 } },
  ],
  ungather: [
    { of: ['1,H,T,T', 'int64 H', '1,K,T,T'], with: { axis: 1 }, gives: '1,K,T,T' },
    { of: ['1,H,T,T', 'int64 A', '1,K,T,T'], with: { axis: 1 } },
    { of: ['1,H,T,T', 'H', '1,K,T,T'], with: { axis: 1 } },
    { of: ['1,H,T,T', 'int64 H', '1,K,T,S'], with: { axis: 1 } },
  ],
  unpick: [
    { of: ['N', 'int64 N', 'N,V'], gives: 'N,V' },
    { of: ['N,W', 'int64 N,W', 'N,V'], gives: 'N,V' },
    { of: ['N', 'int64 N', 'V'] },
    { of: ['N', 'int64 V', 'N,V'] },
  ],
  outerSum: [
    { of: ['B,T,F', 'B,T,D'], gives: 'F,D' },
    { of: ['F', 'D'], gives: 'F,D' },
    { of: ['B,T,F', 'B,S,D'] },
    { of: ['B,T,F', 'T,D'] },
    { of: ['B,T,F'] },
  ],
  groupQueryAttention: [
    { of: ['B,T,Q', 'B,T,KV', 'B,T,KV', ...places], with: heads, gives: 'B,T,Q' },
    { of: ['B,T,Q', 'B,T,KV', 'B,T,KV', ...places, 'T,8', 'T,8'], with: heads, gives: 'B,T,Q' },
    { of: ['B,T,64', 'B,T,32', 'B,T,32', ...places], with: heads, gives: 'B,T,64' },
    { of: ['B,T,64', 'B,T,64', 'B,T,64', ...places], with: heads },
    { of: ['B,T,66', 'B,T,33', 'B,T,33', ...places], with: heads },
    { of: ['B,T,Q', 'B,S,KV', 'B,S,KV', ...places], with: heads },
    { of: ['B,T,Q', 'B,T,KV', 'B,T,KV', 'B', 'int32 '], with: heads },
    { of: ['B,T,Q', 'B,T,KV', 'B,T,KV', ...places, 'T,8'], with: heads },
    { of: ['B,T,Q', 'B,T,KV', 'B,T,KV'], with: heads },
  ],
  multiHeadAttention: [
    { of: ['B,T,Q', 'B,S,Q', 'B,S,Q'], with: many, gives: 'B,T,Q' },
    { of: ['B,T,Q', 'B,S,Q', 'B,S,Q', 'int32 B,S'], with: { ...many, padded: true }, gives: 'B,T,Q' },
    { of: ['B,T,64', 'B,T,64', 'B,T,64', '1,K,T,T'], with: { ...many, biased: true }, gives: 'B,T,64' },
    { of: ['B,T,Q', 'B,S,Q', 'B,S,Q', 'int32 B,T'], with: { ...many, padded: true } },
    { of: ['B,T,Q', 'B,S,Q', 'B,S,Q', '1,3,T,S'], with: { ...many, biased: true } },
    { of: ['B,T,Q', 'B,S,Q', 'B,S,Q'], with: { ...many, biased: true } },
    { of: ['B,T,62', 'B,T,62', 'B,T,62'], with: many },
    { of: ['B,T,Q', 'B,S,Q', 'T,S,Q'], with: many },
  ],
}

describe.each(Object.entries(cases))('the shape of %s', (op, ofOperation) => {
  it.each(ofOperation as readonly Case<Operation>[])('$of → $gives', ({ of, with: attributes = {}, gives }) => {
    const shape = () =>
      shapeOfResult('g', op as Operation, of.map(operandOf), attributes as OperationAttributes[Operation], newLetters())
    if (gives === undefined) {
      expect(shape).toThrow(new RegExp(`^g: ${op}.* of .*, expected `))
    } else {
      const { type, dims } = shape()
      const expected = operandOf(gives, 0)
      expect({ type, dims }).toEqual({ type: expected.type, dims: expected.dims })
    }
  })
})

describe('a graph', () => {
  it('that does not fit is refused by the name of graph and operation, with what came and what was expected', () => {
    const g = buildGraph('toy')
    const x = g.state('hidden', ['B', 'T', 'D'])
    expect(() => g.apply('linear', [x, g.weight('upProj', ['F', 'E'])], {})).toThrow(
      'toy: linear of hidden (B,T,D), upProj (F,E), expected x (…,I), w (O,I), bias? (O)',
    )
  })

  it('knows what a letter stands for once it has met a number', () => {
    const g = buildGraph('toy')
    const q = g.state('queries', ['B', 'T', 'Q'])
    const split = g.apply('reshape', [q], { shape: [0, 0, 4, 6] })
    const merged = g.apply('reshape', [split], { shape: [0, 0, 24] })
    expect(g.apply('linear', [merged, g.weight('oProj', ['D', 'Q'])], {}).dims).toEqual(['B', 'T', 'D'])
    expect(() => g.apply('reshape', [q], { shape: [0, 0, 5, 6] })).toThrow(
      'toy: reshape {"shape":[0,0,5,6]} of queries (B,T,Q=24), expected a shape of as many elements',
    )
  })

  it('never learns how many rows or positions there are', () => {
    const g = buildGraph('toy')
    const [x, y] = [g.state('x', ['B', 'T']), g.state('y', ['B', 7])]
    expect(() => g.apply('add', [x, y], {})).toThrow('toy: add of x (B,T), y (B,7)')
  })

  it('reads an input under one shape', () => {
    const g = buildGraph('toy')
    g.weight('table', ['V', 'D'])
    expect(() => g.weight('table', ['D', 'V'])).toThrow('toy: table is read as (D,V) and as (V,D), expected one shape')
  })

  it('has outputs of any type, several too', () => {
    const g = buildGraph('toy')
    const ids = g.data('ids', ['B', 'T'])
    const places = g.apply('countPositions', [ids], { offset: 0, uncounted: 1 })
    const x = g.apply('embedding', [g.weight('embedTokens', ['V', 'D']), ids], {})
    expect(g.finish([places, x]).outputs.map(({ value: { type, dims } }) => ({ type, dims }))).toEqual([
      { type: 'int64', dims: ['B', 'T'] },
      { type: 'float32', dims: ['B', 'T', 'D'] },
    ])
  })
})

const fixtures = ['tiny-random', 'tiny-variants', 'tiny-encoders'].flatMap((set) =>
  readdirSync(new URL(`../fixtures/${set}`, import.meta.url), { withFileTypes: true })
    .filter((entry) => entry.isDirectory())
    .map(({ name }) => `${set}/${name}`),
)

describe('the graphs of every family', () => {
  it.each(fixtures)('fit, and a stage writes the shape of the state it reads: %s', async (path) => {
    const model = await openModel(path, fileURLToPath(new URL(`../fixtures/${path}`, import.meta.url)))
    for (const kernel of ['fused', 'unpadded', 'primitives', 'cached', 'cachedPrimitives'] as const) {
      const { stages, heads } = programOf(model, kernel)
      for (const { block, graph, writes, bareNorm, channels } of stages) {
        const units = block?.units ?? 0
        const graphs: (Graph | 'copy')[] = [graph(units), bareNorm ?? 'copy']
        if (block) graphs.push(graph(units, true), graph(1))
        const expected = writes.endsWith('positionBias') ? [1, 'K', 'T', 'T'] : ['B', 'T', 'D']
        for (const each of graphs) if (each !== 'copy') expect(each.outputs[0]!.value.dims).toEqual(expected)
        if (channels) expect(channels().outputs[0]!.value.dims.slice(0, 2)).toEqual(['B', 'T'])
      }
      for (const { graph } of Object.values(heads ?? {})) expect(graph.outputs[0]!.value.dims[0]).toBe('N')
    }
  })
})

/** `int64 B,4`: the element type, float32 unless given, and the dimensions. */
function operandOf(text: Text, place: number): Value {
  const [, type = 'float32', dims = ''] = /^(?:(int32|int64) )?(.*)$/.exec(text)!
  const sizes: Dims = dims === '' ? [] : dims.split(',').map((dim) => (/^\d+$/.test(dim) ? Number(dim) : dim))
  return { name: `x${place}`, type: type as ElementType, dims: sizes }
}
