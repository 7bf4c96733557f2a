import * as ort from 'onnxruntime-node'
import { describe, expect, it } from 'vitest'
import { cpuDevice } from '../../src/device/cpu.ts'
import { environmentCache } from '../../src/engine/environment.ts'
import { type AttentionKernel, attentionGraph } from '../../src/graph/attention.ts'
import { type QueryPieces, queryPieces } from '../../src/graph/attentionToOnnx.ts'
import { graphToOnnx } from '../../src/graph/toOnnx.ts'
import type { AttentionForm, Positions } from '../../src/model/mathematics.ts'
import { Random } from '../../src/tensor/random.ts'
import { expectError } from '../measured.ts'

interface Case {
  readonly headDim?: number
  readonly kvHeads?: number
  readonly groupSize?: number
  /** Channels of a head that turn; 0: positions are not rotary. */
  readonly turning?: number
  readonly window?: number
  readonly softcap?: number
  readonly tokens?: number
  readonly rows?: number
}

const fused: [string, Case][] = [
  ['plain', {}],
  ['one head', { kvHeads: 1, groupSize: 1 }],
  ['five query heads to a key/value head', { groupSize: 5 }],
  ['a quarter of each head turning', { headDim: 64, turning: 16 }],
  ['no rotary positions', { turning: 0 }],
  ['heads of 24 without rotary positions', { headDim: 24, turning: 0 }],
  ['a window of 1', { window: 1 }],
  ['a window of 5', { window: 5 }],
  ['a window as long as the row', { window: 20 }],
  ['a window longer than the row', { window: 21 }],
  ['a window in a long row', { window: 64, tokens: 300 }],
  ['a soft cap', { softcap: 1 }],
  ['a soft cap in a long row, and a window', { softcap: 1, window: 100, tokens: 300 }],
  ['one token', { tokens: 1 }],
]

const inPieces: [string, Case][] = [
  ['of equal size', { tokens: 256 }],
  ['the last shorter', { tokens: 261 }],
  ['larger ones in a long row', { tokens: 1100, kvHeads: 1 }],
  ['no rotary positions', { tokens: 300, turning: 0 }],
  ['a window shorter than a piece', { tokens: 300, window: 50 }],
  ['a window longer than a piece', { tokens: 500, window: 200 }],
  ['a soft cap', { tokens: 300, softcap: 1 }],
]

const fromPrimitives: [string, Case][] = [
  ['heads of 2', { headDim: 2 }],
  ['heads of 24', { headDim: 24 }],
  ['heads of 5 without rotary positions', { headDim: 5, turning: 0 }],
  ['8 of 16 channels turning', { turning: 8 }],
  ['24 of 96 channels turning', { headDim: 96, turning: 24 }],
]

describe('attention by the fused kernel', () => {
  it.each(fused)('equals that from primitives: %s', async (_, options) => {
    const form = formOf(options)
    expect(operations(form, 'fused')).toContain('groupQueryAttention')
    expect(operations(form, 'primitives')).not.toContain('groupQueryAttention')
    const [one, other] = [await run(form, options, 'fused'), await run(form, options, 'primitives')]
    // of outputs of size 10
    expectError(Math.max(...one.map((value, i) => Math.abs(value - other[i]!))), 5.8e-6)
  })

  it.each(inPieces)('gives the same bits in pieces: %s', async (_, options) => {
    const [form, one] = [formOf(options), { ...options, rows: 1 }]
    const pieces = queryPieces(1, options.tokens!)
    expect(pieces!.count).toBeGreaterThan(1)
    expect(await run(form, one, 'fused', pieces)).toEqual(await run(form, one, 'fused'))
  })

  it('gives the same within rounding where the last piece is one query, whose product is another routine', async () => {
    const [form, options] = [formOf({}), { tokens: 257, rows: 1 }]
    const [whole, other] = [await run(form, options, 'fused'), await run(form, options, 'fused', queryPieces(1, 257))]
    expectError(Math.max(...whole.map((value, i) => Math.abs(value - other[i]!))), 1.5e-6)
  })

  it('has no pieces for several rows or a short one', () => {
    expect(queryPieces(2, 1024)).toBeUndefined()
    expect(queryPieces(1, 128)).toBeUndefined()
    expect(queryPieces(1, 1)).toBeUndefined()
  })

  it.each(fromPrimitives)('is not asked for what it does not compute: %s', async (_, options) => {
    const form = formOf(options)
    expect(operations(form, 'fused')).not.toContain('groupQueryAttention')
    expect((await run(form, options, 'fused')).every(Number.isFinite)).toBe(true)
  })
})

function formOf({ headDim = 16, groupSize = 2, turning = headDim, window, softcap }: Case): AttentionForm {
  const inverseFrequencies = Array.from({ length: turning / 2 }, (_, i) => 10000 ** ((-2 * i) / turning))
  const positions: Positions = turning === 0 ? { type: 'none' } : { type: 'rotary', rope: { inverseFrequencies } }
  return {
    norm: { type: 'rms', epsilon: 1e-6 },
    positions,
    headDim,
    groupSize,
    scale: 2 * headDim ** -0.5,
    ...(softcap !== undefined && { softcap }),
    window,
    biases: { qkv: false, o: false },
  }
}

function operations(form: AttentionForm, kernel: AttentionKernel): string[] {
  return attentionGraph(form, 2, kernel).nodes.map(({ op }) => op)
}

/** One pass over seeded weights and inputs, the same for every kernel. */
async function run(
  form: AttentionForm,
  { kvHeads = 2, tokens = 20, rows = 2 }: Case,
  kernel: AttentionKernel,
  pieces?: QueryPieces,
): Promise<number[]> {
  const graph = attentionGraph(form, kvHeads, kernel)
  const keys = kvHeads * form.headDim
  const sizes: Record<string, number> = { B: rows, T: tokens, D: 12, Q: keys * form.groupSize, KV: keys }
  const environment = environmentCache(cpuDevice({ threads: 1 }))
  const feeds: Record<string, ort.Tensor> = {}
  for (const { value, source } of graph.inputs) {
    if (source.from === 'environment') {
      feeds[value.name] = environment(source.of, rows, tokens) as ort.Tensor
      continue
    }
    const shape = value.dims.map((dim) => (typeof dim === 'string' ? sizes[dim]! : dim))
    const random = new Random([...value.name].reduce((seed, letter) => seed * 31 + letter.charCodeAt(0), 7) % 65536)
    const length = shape.reduce((product, size) => product * size, 1)
    feeds[value.name] = new ort.Tensor(
      'float32',
      Float32Array.from({ length }, () => random.uniform() * 2 - 1),
      shape,
    )
  }
  const session = await ort.InferenceSession.create(graphToOnnx(graph, { pieces }), {
    intraOpNumThreads: 1,
    logSeverityLevel: 3,
  })
  const output = graph.outputs[0]!.value.name
  const result = await session.run(feeds)
  await session.release()
  return [...(result[output]!.data as Float32Array)]
}
