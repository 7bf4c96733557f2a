import type { GraphBuilder } from './graph.ts'
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
