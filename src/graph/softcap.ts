import type { GraphBuilder } from './graph.ts'
import type { Value } from './operations.ts'

/** c · tanh(x / c): no number beyond c, hardly a change far below it (Gemma 2). */
export function softcap(g: GraphBuilder, x: Value, c: number): Value {
  return g.apply('scale', [g.apply('tanh', [g.apply('scale', [x], { by: 1 / c })], {})], { by: c })
}
