import { elementTypes, type OnnxInitializer, type OnnxNode } from '../format/onnx/encode.ts'
import type { OperationAttributes } from './operations.ts'

type Measure = OperationAttributes['outputDistance']['measure']

/** The float64 nodes from two sets of logits (N,V) to their distance (N), float32. */
export function lowerOutputDistance(measure: Measure, dense: string, pruned: string, output: string) {
  const nodes: OnnxNode[] = []
  const initializers: OnnxInitializer[] = []
  const node = (type: string, inputs: readonly string[], attributes: OnnxNode['attributes'] = {}) => {
    const name = `${output}_${nodes.length}`
    nodes.push({ type, inputs, outputs: [name], attributes })
    return name
  }
  const number = (value: number) => {
    const name = `${output}_constant_${initializers.length}`
    const data = new Uint8Array(Float64Array.of(value).buffer)
    initializers.push({ name, type: 'float64', dims: [], data })
    return name
  }
  const axis = `${output}_axis`
  initializers.push({
    name: axis,
    type: 'int64',
    dims: [1],
    data: new Uint8Array(BigInt64Array.of(-1n).buffer),
  })
  const write: Write = {
    double: (value) => node('Cast', [value], { to: { int: elementTypes.float64 } }),
    add: (a, b) => node('Add', [a, b]),
    sub: (a, b) => node('Sub', [a, b]),
    mul: (a, b) => node('Mul', [a, b]),
    div: (a, b) => node('Div', [a, b]),
    times: (a, by) => node('Mul', [a, number(by)]),
    exp: (a) => node('Exp', [a]),
    // a probability of 0 has a finite logarithm, so that 0 · log 0 is 0
    log: (a) => node('Log', [node('Max', [a, number(1e-300)])]),
    sqrt: (a) => node('Sqrt', [a]),
    logSoftmax: (a) => node('LogSoftmax', [a], { axis: { int: -1 } }),
    sum: (a) => node('ReduceSum', [a, axis], { keepdims: { int: 0 } }),
    minus: (by, a) => node('Sub', [number(by), a]),
  }
  const distance = formulas[measure](write, write.double(dense), write.double(pruned))
  nodes.push({ type: 'Cast', inputs: [distance], outputs: [output], attributes: { to: { int: elementTypes.float32 } } })
  return { nodes, initializers }
}

/** Writes one node each; all values are float64. */
interface Write {
  double(a: string): string
  add(a: string, b: string): string
  sub(a: string, b: string): string
  mul(a: string, b: string): string
  div(a: string, b: string): string
  times(a: string, by: number): string
  minus(by: number, a: string): string
  exp(a: string): string
  log(a: string): string
  sqrt(a: string): string
  logSoftmax(a: string): string
  sum(a: string): string
}

const formulas: Record<Measure, (w: Write, dense: string, pruned: string) => string> = {
  kl(w, dense, pruned) {
    const [logP, logQ] = [w.logSoftmax(dense), w.logSoftmax(pruned)]
    return w.sum(w.mul(w.exp(logP), w.sub(logP, logQ)))
  },
  js(w, dense, pruned) {
    const { logP, logQ, p, q, logM } = mixtureOf(w, dense, pruned)
    return w.times(w.sum(w.add(w.mul(p, w.sub(logP, logM)), w.mul(q, w.sub(logQ, logM)))), 0.5)
  },
  reversedJs(w, dense, pruned) {
    const { logP, logQ, m, logM } = mixtureOf(w, dense, pruned)
    return w.times(w.sum(w.mul(m, w.add(w.sub(logM, logP), w.sub(logM, logQ)))), 0.5)
  },
  squaredDifference(w, dense, pruned) {
    const difference = w.sub(dense, pruned)
    return w.sum(w.mul(difference, difference))
  },
  oneMinusCosine(w, dense, pruned) {
    const squares = w.mul(w.sum(w.mul(dense, dense)), w.sum(w.mul(pruned, pruned)))
    return w.minus(1, w.div(w.sum(w.mul(dense, pruned)), w.sqrt(squares)))
  },
}

function mixtureOf(w: Write, dense: string, pruned: string) {
  const [logP, logQ] = [w.logSoftmax(dense), w.logSoftmax(pruned)]
  const [p, q] = [w.exp(logP), w.exp(logQ)]
  const m = w.times(w.add(p, q), 0.5)
  return { logP, logQ, p, q, m, logM: w.log(m) }
}
