import type { AttentionForm, Positions, RopeForm } from '../model/mathematics.ts'
import { gateBlock, norm, project, softcap } from './composites.ts'
import { type BranchPart, buildGraph, type CachePart, type Gate, type Graph, type GraphBuilder } from './graph.ts'
import type { Value } from './operations.ts'

/**
 * How attention is computed: one fused kernel for scoring, or primitives, which have backward rules; `unpadded` is the fused kernel
 * where no row is padded, which lets onnxruntime look both ways without all scores in memory. `cached`, for exports, is the fused
 * kernel of decoders, whose cache its operator has inside, and primitives behind a cache for everything else; `cachedPrimitives`
 * is primitives behind a cache for all.
 */
export type AttentionKernel = 'fused' | 'unpadded' | 'primitives' | 'cached' | 'cachedPrimitives'

/** Whether the graph continues what earlier calls left in a cache. */
export const isCached = (kernel: AttentionKernel): boolean => kernel === 'cached' || kernel === 'cachedPrimitives'

/**
 * y = x + o(softmax(cap(q kᵀ · scale) + bias + mask) v), with q, k, v = rotate(W norm(x)): x (B,T,D) → y (B,T,D).
 * `kvHeads` is the number of key/value heads left, K; each serves G query heads. `gate`, for primitives: y = x + gate · o(…), or each
 * key/value head's outputs times its own.
 */
export function attentionGraph(
  form: AttentionForm,
  kvHeads: number,
  kernel: AttentionKernel,
  part: BranchPart = 'whole',
  gate?: Gate,
): Graph {
  const g = buildGraph('attention')
  const { biases, inputFirst } = form
  const x = g.state('hidden', ['B', 'T', 'D'])
  const h = form.norm ? norm(g, form.norm, x, 'norm') : x
  const into = (role: 'q' | 'k' | 'v', output: string) =>
    project(g, h, {
      weight: `${role}Proj`,
      bias: biases.qkv ? `${role}Bias` : undefined,
      output,
      input: 'D',
      inputFirst,
    })
  const q = normHeads(g, form, into('q', 'Q'), 'qNorm', kvHeads * form.groupSize) // (B,T,K·G·E)
  const k = normHeads(g, form, into('k', 'KV'), 'kNorm', kvHeads) // (B,T,K·E)
  const v = into('v', 'KV') // (B,T,K·E)
  const attended =
    kernel !== 'primitives' && kernel !== 'cachedPrimitives' && isFusable(form)
      ? fused(g, form, kvHeads, q, k, v)
      : fromPrimitives(g, form, kvHeads, q, k, v, isCached(kernel), gate) // (B,T,K·G·E)
  if (part === 'channels') return g.finish([attended])
  const bias = biases.o ? 'oBias' : undefined
  const y = project(g, attended, { weight: 'oProj', bias, output: 'D', input: 'Q', inputFirst })
  const added = gateBlock(g, gate, form.postNorm ? norm(g, form.postNorm, y, 'postNorm') : y)
  const sum = g.apply('add', [x, added], {})
  return g.finish([form.outputNorm ? norm(g, form.outputNorm, sum, 'outputNorm') : sum])
}

/**
 * What onnxruntime 1.30's fused kernel computes; every other form is computed from primitives. It takes heads of a multiple
 * of 8 channels (16, and 16 of them turning, where positions are rotary) and no bias by head.
 */
function isFusable({ positions, headDim }: AttentionForm): boolean {
  if (positions.type === 'alibi') return false
  if (positions.type === 'none') return headDim % 8 === 0
  return headDim % 16 === 0 && (2 * positions.rope.inverseFrequencies.length) % 16 === 0
}

/** The norm of each head by itself: x (B,T,heads·E) → (B,T,heads·E). */
function normHeads(g: GraphBuilder, form: AttentionForm, x: Value, role: string, heads: number): Value {
  if (form.headNorm === undefined) return x
  const byHead = g.apply('reshape', [x], { shape: [0, 0, heads, form.headDim] })
  return g.apply('reshape', [norm(g, form.headNorm, byHead, role, 'E')], { shape: [0, 0, heads * form.headDim] })
}

type AlibiForm = Extract<Positions, { type: 'alibi' }>

function fused(g: GraphBuilder, form: AttentionForm, kvHeads: number, q: Value, k: Value, v: Value): Value {
  const last = g.environment({ type: 'lastPosition' }, ['B'])
  const length = g.environment({ type: 'length' }, [])
  const turned = form.positions.type === 'rotary' ? rotation(g, form.positions.rope) : []
  return g.apply('groupQueryAttention', [q, k, v, last, length, ...turned], {
    heads: kvHeads * form.groupSize,
    kvHeads,
    scale: form.scale,
    window: form.window,
    softcap: form.softcap,
  })
}

/** Keys and values are those of S = T positions; with a cache, of S = P + T, the queries being those of the last T. */
function fromPrimitives(
  g: GraphBuilder,
  form: AttentionForm,
  kvHeads: number,
  q: Value,
  k: Value,
  v: Value,
  cached: boolean,
  gate: Gate | undefined,
): Value {
  const { headDim: E, groupSize: G, positions } = form
  const keyLength = cached ? 'P+T' : 'T'
  const split = (value: Value, group: number) =>
    g.apply('transpose', [g.apply('reshape', [value], { shape: [0, 0, kvHeads, group, E] })], {
      order: [0, 2, 3, 1, 4],
    })
  const turn = (value: Value) => (positions.type === 'rotary' ? rotate(g, positions.rope, E, value) : value)
  const withPast = (part: CachePart, value: Value) => (cached ? rememberHeads(g, part, value, E) : value)
  const qs = turn(split(q, G)) // (B,K,G,T,E)
  const ks = withPast('key', turn(split(k, 1))) // (B,K,1,S,E)
  const vs = withPast('value', split(v, 1)) // (B,K,1,S,E)
  const products = g.apply('matmul', [qs, g.apply('transpose', [ks], { order: [0, 1, 2, 4, 3] })], {}) // (B,K,G,T,S)
  let scores = g.apply('scale', [products], { by: form.scale })
  if (form.softcap !== undefined) scores = softcap(g, scores, form.softcap)
  if (positions.type === 'alibi') scores = g.apply('add', [scores, alibi(g, positions, kvHeads, G, keyLength)], {})
  const mask = g.environment({ type: 'causalMask', window: form.window }, ['T', keyLength])
  const weights = g.apply('softmax', [g.apply('add', [scores, mask], {})], {})
  let mixed = g.apply('matmul', [weights, vs], {}) // (B,K,G,T,E)
  if (gate === 'unit') {
    const gates = g.apply('reshape', [g.gate('unit', ['B', kvHeads])], { shape: [0, 0, 1, 1, 1] })
    mixed = g.apply('mul', [mixed, gates], {})
  }
  return g.apply('reshape', [g.apply('transpose', [mixed], { order: [0, 3, 1, 2, 4] })], {
    shape: [0, 0, kvHeads * G * E],
  })
}

/** x (B,K,1,T,E) behind what the cache has of it: (B,K,1,P+T,E). */
function rememberHeads(g: GraphBuilder, part: CachePart, x: Value, headDim: number): Value {
  const flat = g.apply('reshape', [x], { shape: [0, 0, -1, headDim] })
  return g.apply('reshape', [g.remember(part, flat)], { shape: [0, 0, 1, -1, headDim] })
}

/**
 * slope · key position · factor: (K,G,1,S). The distance to the query would do the same: softmax does not see what all keys
 * of a query have in common.
 */
function alibi(g: GraphBuilder, form: AlibiForm, kvHeads: number, groupSize: number, keyLength: string): Value {
  const round = (x: Value) => (form.rounds === 'bfloat16' ? g.apply('roundToBfloat16', [x], {}) : x)
  const slopes = round(g.constant('slopes', 'K G', form.slopes, [kvHeads, groupSize]))
  const byHead = g.apply('reshape', [slopes], { shape: [kvHeads, groupSize, 1, 1] })
  const positions = round(g.environment({ type: 'keyPositions' }, [keyLength]))
  return g.apply('scale', [round(g.apply('mul', [byHead, positions], {}))], { by: form.factor })
}

function rotation(g: GraphBuilder, rope: RopeForm): [Value, Value] {
  const dims = ['T', rope.inverseFrequencies.length]
  return [g.environment({ type: 'rotaryCos', rope }, dims), g.environment({ type: 'rotarySin', rope }, dims)]
}

/**
 * (a, b, rest) → (a cos - b sin, b cos + a sin, rest): a and b are the first and second half of the R channels that turn.
 * x (…,T,E) → (…,T,E)
 */
function rotate(g: GraphBuilder, rope: RopeForm, headDim: number, x: Value): Value {
  const [cos, sin] = rotation(g, rope)
  const half = rope.inverseFrequencies.length
  const channels = (start: number, end: number) => g.apply('slice', [x], { axis: -1, start, end })
  const [a, b] = [channels(0, half), channels(half, 2 * half)]
  const times = (left: Value, right: Value) => g.apply('mul', [left, right], {})
  const minusB = g.apply('scale', [b], { by: -1 })
  const first = g.apply('add', [times(a, cos), times(minusB, sin)], {})
  const second = g.apply('add', [times(b, cos), times(a, sin)], {})
  const rest = 2 * half < headDim ? [channels(2 * half, headDim)] : []
  return g.apply('concat', [first, second, ...rest], { axis: -1 })
}
