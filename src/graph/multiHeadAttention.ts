import type { MultiHeadForm } from '../model/mathematics.ts'
import { type AttentionKernel, isCached } from './attention.ts'
import { gateBlock, norm, project } from './composites.ts'
import { type BranchPart, buildGraph, type CachePart, type Gate, type Graph, type GraphBuilder } from './graph.ts'
import type { Value } from './operations.ts'

/**
 * y = norm(x + o(softmax(q kᵀ · scale + bias + mask) v)): x (B,T,D) → y (B,T,D). k and v are made of the positions that `sees`
 * names: of x itself, or of the encoder's output, `memory` (B,S,D). `heads` is the number of heads left, H. `gate`, for primitives:
 * norm(x + gate · o(…)), or each head's outputs times its own.
 */
export function multiHeadAttentionGraph(
  form: MultiHeadForm,
  heads: number,
  kernel: AttentionKernel,
  part: BranchPart = 'whole',
  gate?: Gate,
): Graph {
  const g = buildGraph(form.sees === 'memory' ? 'crossAttention' : 'attention')
  const x = g.state('hidden', ['B', 'T', 'D'])
  const h = form.norm ? norm(g, form.norm, x, 'norm') : x
  const source = form.sees === 'memory' ? g.state('memory', ['B', 'S', 'D']) : h
  const into = (from: Value, role: 'q' | 'k' | 'v') =>
    project(g, from, { weight: `${role}Proj`, bias: form.biases ? `${role}Bias` : undefined, output: 'Q', input: 'D' })
  const [q, k, v] = [into(h, 'q'), into(source, 'k'), into(source, 'v')] // (B,T,H·E), (B,S,H·E) twice
  const attended =
    kernel === 'fused' || kernel === 'unpadded'
      ? fused(g, form, heads, q, k, v, kernel === 'fused')
      : fromPrimitives(g, form, heads, q, k, v, isCached(kernel), gate) // (B,T,H·E)
  if (part === 'channels') return g.finish([attended])
  const bias = form.biases || form.outputBias ? 'oBias' : undefined
  const added = project(g, attended, { weight: 'oProj', bias, output: 'D', input: 'Q' })
  const y = g.apply('add', [x, gateBlock(g, gate, added)], {})
  return g.finish([form.outputNorm ? norm(g, form.outputNorm, y, 'outputNorm') : y])
}

function fused(
  g: GraphBuilder,
  form: MultiHeadForm,
  heads: number,
  q: Value,
  k: Value,
  v: Value,
  mayBePadded: boolean,
): Value {
  const padding = form.sees === 'past' || !mayBePadded ? [] : [g.data('padding', ['B', keyLength(form, false)])]
  const bias = positionBias(g, form, heads, keyLength(form, false))
  return g.apply('multiHeadAttention', [q, k, v, ...padding, ...bias], {
    heads,
    scale: form.scale,
    causal: form.sees === 'past',
    padded: padding.length > 0,
    biased: bias.length > 0,
  })
}

/** With a cache, `memory` is what of the encoder's output the cache has not seen: all of it at first, nothing later. */
function fromPrimitives(
  g: GraphBuilder,
  form: MultiHeadForm,
  heads: number,
  q: Value,
  k: Value,
  v: Value,
  cached: boolean,
  gate: Gate | undefined,
): Value {
  const split = (value: Value) =>
    g.apply('transpose', [g.apply('reshape', [value], { shape: [0, 0, heads, form.headDim] })], {
      order: [0, 2, 1, 3],
    })
  const keys = keyLength(form, cached)
  const withPast = (part: CachePart, value: Value) => (cached && form.sees !== 'row' ? g.remember(part, value) : value)
  const ks = withPast('key', split(k)) // (B,H,S,E)
  const vs = withPast('value', split(v)) // (B,H,S,E)
  const columns = g.apply('transpose', [ks], { order: [0, 1, 3, 2] }) // (B,H,E,S)
  const products = g.apply('matmul', [split(q), columns], {}) // (B,H,T,S)
  const mask =
    form.sees === 'past'
      ? g.environment({ type: 'causalMask', window: undefined }, ['T', keys])
      : g.data('paddingBias', ['B', 1, 1, keys])
  let scores = g.apply('add', [g.apply('scale', [products], { by: form.scale }), mask], {})
  for (const bias of positionBias(g, form, heads, keys)) scores = g.apply('add', [scores, bias], {})
  let mixed = g.apply('matmul', [g.apply('softmax', [scores], {}), vs], {}) // (B,H,T,E)
  if (gate === 'unit') {
    const gates = g.apply('reshape', [g.gate('unit', ['B', heads])], { shape: [0, 0, 1, 1] })
    mixed = g.apply('mul', [mixed, gates], {})
  }
  return g.apply('reshape', [g.apply('transpose', [mixed], { order: [0, 2, 1, 3] })], {
    shape: [0, 0, heads * form.headDim],
  })
}

/** How many positions a query may see: with a cache also those P that it has. */
function keyLength({ sees }: MultiHeadForm, cached: boolean): string {
  const own = sees === 'memory' ? 'S' : 'T'
  return cached && sees !== 'row' ? `P+${own}` : own
}

/** The stack's position bias of the heads that are left, (1,H,T,S), or nothing. */
function positionBias(g: GraphBuilder, { positionBias: form }: MultiHeadForm, heads: number, keys: string): Value[] {
  if (form === undefined) return []
  const all = g.state('positionBias', [1, 'K', 'T', keys])
  if (heads === form.heads) return [all]
  const numbers = Array.from({ length: form.heads }, (_, head) => head)
  return [g.apply('gather', [all, g.constant('heads', 'K', numbers, ['H'], 'int64')], { axis: 1 })]
}
