import type { NormForm } from '../model/mathematics.ts'
import { buildGraph, type Gate, type Graph, type GraphBuilder } from './graph.ts'
import type { Value } from './operations.ts'

/** What a projection needs besides its input: the roles and the dimensions of its weights. */
export interface Projection {
  readonly weight: string
  /** Role of the bias; undefined: there is none. */
  readonly bias?: string | undefined
  readonly output: string
  readonly input: string
  /** The matrix is stored (in, out). */
  readonly inputFirst?: boolean | undefined
}

/** W x + bias: x (…,I) → (…,O). */
export function project(g: GraphBuilder, x: Value, { weight, bias, output, input, inputFirst }: Projection): Value {
  const matrix = g.weight(weight, inputFirst ? [input, output] : [output, input])
  const inputs = bias === undefined ? [x, matrix] : [x, matrix, g.weight(bias, [output])]
  return g.apply('linear', inputs, inputFirst ? { inputFirst } : {})
}

/** norm(x) over the last axis, of size `dim`, with the scale called `role`: x (…,D) → (…,D). */
export function norm(g: GraphBuilder, form: NormForm, x: Value, role: string, dim = 'D'): Value {
  const stored = g.weight(role, [dim])
  if (form.type === 'layer') {
    return g.apply('layerNorm', [x, stored, g.weight(`${role}Bias`, [dim])], { epsilon: form.epsilon })
  }
  const scale = form.offset === undefined ? stored : g.apply('shift', [stored], { by: form.offset })
  return g.apply('rmsNorm', [x, scale], { epsilon: form.epsilon })
}

/** The norm of a stream by itself: x (B,T,D) → (B,T,D). Ends an encoder, and stands where a post-norm branch was removed. */
export function normGraph(form: NormForm, role: string): Graph {
  const g = buildGraph('norm')
  return g.finish([norm(g, form, g.state('hidden', ['B', 'T', 'D']), role)])
}

/** c · tanh(x / c): no number beyond c, hardly a change far below it (Gemma 2). */
export function softcap(g: GraphBuilder, x: Value, c: number): Value {
  return g.apply('scale', [g.apply('tanh', [g.apply('scale', [x], { by: 1 / c })], {})], { by: c })
}

/** What a branch adds to the stream (B,T,D), times the gate of its row where the block has one. */
export function gateBlock(g: GraphBuilder, gate: Gate | undefined, x: Value): Value {
  if (gate !== 'block') return x
  return g.apply('mul', [x, g.apply('reshape', [g.gate('block', ['B'])], { shape: [0, 1, 1] })], {})
}
