import type { GraphBuilder } from './graph.ts'
import type { Operation, OperationAttributes, Value } from './operations.ts'

/** Operations that no gradient goes through, and what to do about it. */
export const withoutGradient = {
  groupQueryAttention: 'the fused kernel is for the forward pass, take attention from primitives',
  multiHeadAttention: 'the fused kernel is for the forward pass, take attention from primitives',
  outputDistance: 'distances are measured, not learned from',
  largest: 'it gives places',
  countPositions: 'it gives places',
  roundToBfloat16: 'it is for numbers that the family fixes',
  ...backward([
    ...(['sum', 'mean', 'reciprocalRoot', 'exp', 'erf', 'sigmoid', 'step'] as const),
    ...(['reshapeLike', 'padLike', 'ungather', 'unpick', 'outerSum'] as const),
  ]),
} satisfies Partial<Record<Operation, string>>

function backward<Op extends Operation>(operations: readonly Op[]): Record<Op, string> {
  const reason = 'it is for gradients, and no second derivatives are taken'
  return Object.fromEntries(operations.map((op) => [op, reason])) as Record<Op, string>
}

export type Differentiable = Exclude<Operation, keyof typeof withoutGradient>

/** One node of the forward pass, and the gradient `dy` of its output y. */
export interface Step<Op extends Operation = Operation> {
  readonly g: GraphBuilder
  readonly inputs: readonly Value[]
  readonly attributes: OperationAttributes[Op]
  readonly y: Value
  readonly dy: Value
}

/** The gradient of each input, written when it is asked for; undefined for inputs that have none, such as indices. */
export type GradientRule<Op extends Operation> = (step: Step<Op>) => readonly ((() => Value) | undefined)[]

export type GradientRules = { readonly [Op in Differentiable]: GradientRule<Op> }

/**
 * The gradient of each operation, given that of its result. A table that `embedding` reads has the gradient of its rows alone, which
 * `gradient` gives with their numbers.
 */
export const gradientRules: GradientRules = {
  linear({ g, inputs: [x, w, bias], attributes: { inputFirst }, dy }) {
    return [
      () => g.apply('linear', [dy, w!], inputFirst ? {} : { inputFirst: true }),
      () => g.apply('outerSum', inputFirst ? [x!, dy] : [dy, x!], {}),
      () => shapedAs(g, sumOver(g, dy, leading(dy, 1)), bias!),
    ]
  },
  matmul({ g, inputs: [a, b], dy }) {
    return [
      () => unbroadcast(g, g.apply('matmul', [dy, turned(g, b!)], {}), a!),
      () => unbroadcast(g, g.apply('matmul', [turned(g, a!), dy], {}), b!),
    ]
  },
  add: ({ g, inputs, dy }) => inputs.map((x) => () => unbroadcast(g, dy, x)),
  mul({ g, inputs: [a, b], dy }) {
    return [() => unbroadcast(g, times(g, dy, b!), a!), () => unbroadcast(g, times(g, dy, a!), b!)]
  },
  div({ g, inputs: [a, b], y, dy }) {
    const over = () => g.apply('div', [dy, b!], {})
    return [() => unbroadcast(g, over(), a!), () => unbroadcast(g, negative(g, times(g, over(), y)), b!)]
  },
  // x̂ = x / √(mean(x²) + ε): dx = (ds - x̂ mean(ds x̂)) / √(…), ds = dy · scale
  rmsNorm({ g, inputs: [x, scale], attributes: { epsilon }, dy }) {
    const root = reciprocalDeviation(g, x!, epsilon)
    const normal = times(g, x!, root)
    return [
      () => times(g, minus(g, times(g, dy, scale!), along(g, times(g, dy, scale!), normal)), root),
      () => unbroadcast(g, times(g, dy, normal), scale!),
    ]
  },
  // x̂ = (x - mean(x)) / √(var(x) + ε): dx = (ds - mean(ds) - x̂ mean(ds x̂)) / √(…), ds = dy · scale
  layerNorm({ g, inputs: [x, scale, bias], attributes: { epsilon }, dy }) {
    const centred = minus(g, x!, g.apply('mean', [x!], {}))
    const root = reciprocalDeviation(g, centred, epsilon)
    const normal = times(g, centred, root)
    const input = () => {
      const ds = times(g, dy, scale!)
      return times(g, minus(g, minus(g, ds, g.apply('mean', [ds], {})), along(g, ds, normal)), root)
    }
    return [input, () => unbroadcast(g, times(g, dy, normal), scale!), () => unbroadcast(g, dy, bias!)]
  },
  rowLength: ({ g, inputs: [w], y, dy }) => [() => times(g, w!, column(g, g.apply('div', [dy, y], {})))],
  // σ (1 + x (1 - σ))
  silu: ({ g, inputs: [x], dy }) => [() => times(g, dy, gatedSlope(g, x!, 1))],
  quickGelu: ({ g, inputs: [x], dy }) => [() => times(g, dy, gatedSlope(g, x!, 1.702))],
  // Φ(x) + x φ(x)
  gelu({ g, inputs: [x], dy }) {
    const slope = () => {
      const below = scaled(g, shifted(g, g.apply('erf', [scaled(g, x!, Math.SQRT1_2)], {}), 1), 0.5)
      const density = scaled(g, g.apply('exp', [scaled(g, times(g, x!, x!), -0.5)], {}), 1 / Math.sqrt(2 * Math.PI))
      return g.apply('add', [below, times(g, x!, density)], {})
    }
    return [() => times(g, dy, slope())]
  },
  // t = tanh(c (x + k x³)): ½ (1 + t) + ½ x (1 - t²) c (1 + 3 k x²)
  geluTanh({ g, inputs: [x], dy }) {
    const [c, k] = [Math.sqrt(2 / Math.PI), 0.044715]
    const slope = () => {
      const square = times(g, x!, x!)
      const t = g.apply('tanh', [scaled(g, times(g, x!, shifted(g, scaled(g, square, k), 1)), c)], {})
      const inner = scaled(g, shifted(g, scaled(g, square, 3 * k), 1), c)
      const steep = times(g, times(g, x!, oneMinus(g, times(g, t, t))), inner)
      return scaled(g, g.apply('add', [shifted(g, t, 1), steep], {}), 0.5)
    }
    return [() => times(g, dy, slope())]
  },
  relu: ({ g, inputs: [x], dy }) => [() => times(g, dy, g.apply('step', [x!], {}))],
  squaredRelu: ({ g, inputs: [x], dy }) => [() => times(g, dy, scaled(g, g.apply('relu', [x!], {}), 2))],
  tanh: ({ g, y, dy }) => [() => times(g, dy, oneMinus(g, times(g, y, y)))],
  embedding: ({ dy }) => [() => dy, undefined],
  reshape: ({ g, inputs: [x], dy }) => [() => shapedAs(g, dy, x!)],
  transpose({ g, attributes: { order }, dy }) {
    return [() => g.apply('transpose', [dy], { order: order.map((_, axis) => order.indexOf(axis)) })]
  },
  slice: ({ g, inputs: [x], attributes: { axis, start }, dy }) => [() => g.apply('padLike', [dy, x!], { axis, start })],
  concat({ g, inputs, attributes: { axis }, dy }) {
    const sizeOf = (x: Value) => Number(g.letters.sizeOf(x.dims.at(axis)!))
    return inputs.map((x, i) => () => {
      const start = inputs.slice(0, i).reduce((sum, before) => sum + sizeOf(before), 0)
      return g.apply('slice', [dy], { axis, start, end: start + sizeOf(x) })
    })
  },
  gather: ({ g, inputs: [x, index], attributes, dy }) => [
    () => g.apply('ungather', [dy, index!, x!], attributes),
    undefined,
  ],
  scale: ({ g, attributes: { by }, dy }) => [() => scaled(g, dy, by)],
  shift: ({ dy }) => [() => dy],
  // y (dy - Σ dy y)
  softmax({ g, y, dy }) {
    return [() => times(g, y, minus(g, dy, g.apply('sum', [times(g, dy, y)], { axes: [last(y)], keepDims: true })))]
  },
  logSumExp: ({ g, inputs: [x], dy }) => [() => times(g, column(g, dy), g.apply('softmax', [x!], {}))],
  // (one-hot - softmax) dy
  logProbability({ g, inputs: [z, index], dy }) {
    const probabilities = () => {
      const total = dy.dims.length === 1 ? column(g, dy) : g.apply('sum', [dy], { axes: [1], keepDims: true })
      return times(g, g.apply('softmax', [z!], {}), total)
    }
    return [() => minus(g, g.apply('unpick', [dy, index!, z!], {}), probabilities()), undefined]
  },
  pick: ({ g, inputs: [x, index], dy }) => [() => g.apply('unpick', [dy, index!, x!], {}), undefined],
}

const times = (g: GraphBuilder, a: Value, b: Value) => g.apply('mul', [a, b], {})
const scaled = (g: GraphBuilder, x: Value, by: number) => g.apply('scale', [x], { by })
const shifted = (g: GraphBuilder, x: Value, by: number) => g.apply('shift', [x], { by })
const negative = (g: GraphBuilder, x: Value) => scaled(g, x, -1)
const minus = (g: GraphBuilder, a: Value, b: Value) => g.apply('add', [a, negative(g, b)], {})
const oneMinus = (g: GraphBuilder, x: Value) => shifted(g, negative(g, x), 1)
const last = (x: Value) => x.dims.length - 1
/** All axes but the `behind` last. */
const leading = (x: Value, behind: number) => x.dims.slice(behind).map((_, axis) => axis)

/** x (…) → (…,1) */
function column(g: GraphBuilder, x: Value): Value {
  return g.apply('reshape', [x], { shape: [...x.dims.map(() => 0), 1] })
}

/** `dy` in the shape of x: by numbers where they say it, so that the runtime need not look at x. */
function shapedAs(g: GraphBuilder, dy: Value, x: Value): Value {
  const shape = x.dims.map((dim, axis) => {
    const size = g.letters.sizeOf(dim)
    return typeof size === 'number' ? size : dim === dy.dims[axis] ? 0 : -1
  })
  const isSaid = shape.filter((size) => size === -1).length <= 1
  return isSaid ? g.apply('reshape', [dy], { shape }) : g.apply('reshapeLike', [dy, x], {})
}

/** With the last two axes exchanged. */
function turned(g: GraphBuilder, x: Value): Value {
  const order = x.dims.map((_, axis) => axis)
  return g.apply('transpose', [x], { order: [...order.slice(0, -2), last(x), last(x) - 1] })
}

function sumOver(g: GraphBuilder, x: Value, axes: readonly number[], keepDims = false): Value {
  return axes.length === 0 ? x : g.apply('sum', [x], { axes, keepDims })
}

/** `dy` summed over the axes along which `x` was repeated: the shape of x. */
function unbroadcast(g: GraphBuilder, dy: Value, x: Value): Value {
  const sum = sumOver(g, dy, leading(dy, x.dims.length))
  const { sizeOf } = g.letters
  const repeated = x.dims.flatMap((dim, axis) => (sizeOf(dim) === 1 && sizeOf(sum.dims[axis]!) !== 1 ? [axis] : []))
  return sumOver(g, sum, repeated, true)
}

/** 1 / √(mean(x²) + ε): x (…,D) → (…,1) */
function reciprocalDeviation(g: GraphBuilder, x: Value, epsilon: number): Value {
  return g.apply('reciprocalRoot', [shifted(g, g.apply('mean', [times(g, x, x)], {}), epsilon)], {})
}

/** n · mean(x n): what of x goes along n. */
const along = (g: GraphBuilder, x: Value, n: Value) => times(g, n, g.apply('mean', [times(g, x, n)], {}))

/** The slope of x σ(α x): σ (1 + α x (1 - σ)). */
function gatedSlope(g: GraphBuilder, x: Value, alpha: number): Value {
  const gate = g.apply('sigmoid', [scaled(g, x, alpha)], {})
  return times(g, gate, shifted(g, times(g, scaled(g, x, alpha), oneMinus(g, gate)), 1))
}
