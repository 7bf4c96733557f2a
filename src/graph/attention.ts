import type { AttentionForm } from '../model/forms.ts'
import { buildGraph, type Graph, type GraphBuilder } from './graph.ts'
import { norm } from './norm.ts'
import type { Value } from './operations.ts'

/** How attention is computed: one fused kernel for scoring, or primitives, which have backward rules. */
export type AttentionKernel = 'fused' | 'primitives'

/**
 * y = x + o(softmax(q kᵀ / √E + mask) v), with q, k, v = rotate(W norm(x)): x (B,T,D) → y (B,T,D).
 * `kvHeads` is the number of key/value heads left, K; each serves G query heads.
 */
export function attentionGraph(form: AttentionForm, kvHeads: number, kernel: AttentionKernel): Graph {
  const g = buildGraph('attention')
  const x = g.state('hidden', ['B', 'T', 'D'])
  const h = norm(g, form.norm, x, 'norm')
  const project = (role: string, bias: string, dims: string, biased: boolean) =>
    g.apply('linear', [h, g.weight(role, [dims, 'D']), ...(biased ? [g.weight(bias, [dims])] : [])], {})
  const q = project('qProj', 'qBias', 'Q', form.biases.qkv) // (B,T,K·G·E)
  const k = project('kProj', 'kBias', 'KV', form.biases.qkv) // (B,T,K·E)
  const v = project('vProj', 'vBias', 'KV', form.biases.qkv) // (B,T,K·E)
  const attended = attend[kernel](g, form, kvHeads, q, k, v) // (B,T,K·G·E)
  const o = g.weight('oProj', ['D', 'Q'])
  const y = g.apply('linear', [attended, o, ...(form.biases.o ? [g.weight('oBias', ['D'])] : [])], {})
  return g.finish([[g.apply('add', [x, y], {}), ['B', 'T', 'D']]])
}

type Attend = (g: GraphBuilder, form: AttentionForm, kvHeads: number, q: Value, k: Value, v: Value) => Value

const attend: Record<AttentionKernel, Attend> = {
  fused(g, form, kvHeads, q, k, v) {
    const last = g.environment({ type: 'lastPosition' }, ['B'])
    const length = g.environment({ type: 'length' }, [])
    const [cos, sin] = rotation(g, form)
    return g.apply('groupQueryAttention', [q, k, v, last, length, cos, sin], {
      heads: kvHeads * form.groupSize,
      kvHeads,
      scale: form.headDim ** -0.5,
      window: form.window,
    })
  },
  primitives(g, form, kvHeads, q, k, v) {
    const { headDim: E, groupSize: G } = form
    const mask = g.environment({ type: 'causalMask', window: form.window }, ['T', 'T'])
    const heads = (value: Value, group: number) =>
      g.apply('transpose', [g.apply('reshape', [value], { shape: [0, 0, kvHeads, group, E] })], {
        order: [0, 2, 3, 1, 4],
      })
    const qs = rotate(g, form, heads(q, G)) // (B,K,G,T,E)
    const ks = rotate(g, form, heads(k, 1)) // (B,K,1,T,E)
    const vs = heads(v, 1) // (B,K,1,T,E)
    const scores = g.apply('matmul', [qs, g.apply('transpose', [ks], { order: [0, 1, 2, 4, 3] })], {}) // (B,K,G,T,T)
    const weights = g.apply('softmax', [g.apply('add', [g.apply('scale', [scores], { by: E ** -0.5 }), mask], {})], {})
    const mixed = g.apply('matmul', [weights, vs], {}) // (B,K,G,T,E)
    return g.apply('reshape', [g.apply('transpose', [mixed], { order: [0, 3, 1, 2, 4] })], {
      shape: [0, 0, kvHeads * G * E],
    })
  },
}

function rotation(g: GraphBuilder, form: AttentionForm): [Value, Value] {
  const dims = ['T', form.headDim / 2]
  return [
    g.environment({ type: 'rotaryCos', rope: form.rope }, dims),
    g.environment({ type: 'rotarySin', rope: form.rope }, dims),
  ]
}

/** (a, b) → (a cos - b sin, b cos + a sin), a and b the first and second half of the head: x (…,T,E) → (…,T,E) */
function rotate(g: GraphBuilder, form: AttentionForm, x: Value): Value {
  const [cos, sin] = rotation(g, form)
  const half = form.headDim / 2
  const a = g.apply('slice', [x], { axis: -1, start: 0, end: half })
  const b = g.apply('slice', [x], { axis: -1, start: half, end: form.headDim })
  const times = (left: Value, right: Value) => g.apply('mul', [left, right], {})
  const minusB = g.apply('scale', [b], { by: -1 })
  const first = g.apply('add', [times(a, cos), times(minusB, sin)], {})
  const second = g.apply('add', [times(b, cos), times(a, sin)], {})
  return g.apply('concat', [first, second], { axis: -1 })
}
