import { type Letters, sumOf } from './dimensions.ts'
import type { Operation, OperationAttributes, Value } from './operations.ts'
import { resultOf, type Shape } from './signature.ts'

/** Operands and result as one line of text, or what no such line says. */
type ShapeRule<Op extends Operation> =
  | string
  | ((attributes: OperationAttributes[Op], operands: readonly Shape[]) => string)
  | {
      readonly expects: string
      /** Undefined where the operands don't fit. */
      result(operands: readonly Shape[], attributes: OperationAttributes[Op], letters: Letters): Shape | undefined
    }

const elementwise: ShapeRule<'add' | 'mul' | 'div'> = {
  expects: 'floats a and b whose dimensions, from the last on, are equal or 1',
  result: ([a, b, ...more], _, { broadcast }) => {
    const dims = areFloats(a, b) && more.length === 0 ? broadcast(a!.dims, b!.dims) : undefined
    return dims && { type: 'float32', dims }
  },
}

/** How each operation makes type and dimensions of its operands'. */
export const shapeRules: { readonly [Op in Operation]: ShapeRule<Op> } = {
  linear({ inputFirst }, [, , bias]) {
    const [w, b] = [inputFirst ? '(I,O)' : '(O,I)', bias?.dims.length === 2 ? '(1,O)' : '(O)']
    return `x (…,I), w ${w}, bias? ${b} → (…,O)`
  },
  matmul: {
    expects: 'floats a (…,N,I) and b (…,I,M), the axes before them equal or 1',
    result([a, b, ...more], _, { agree, broadcast }) {
      if (!areFloats(a, b) || a!.dims.length < 2 || b!.dims.length < 2 || more.length > 0) return undefined
      const batch = broadcast(a!.dims.slice(0, -2), b!.dims.slice(0, -2))
      if (batch === undefined || !agree(a!.dims.at(-1)!, b!.dims.at(-2)!)) return undefined
      return { type: 'float32', dims: [...batch, a!.dims.at(-2)!, b!.dims.at(-1)!] }
    },
  },
  add: elementwise,
  mul: elementwise,
  div: elementwise,
  rmsNorm: 'x (…,D), scale (D) → (…,D)',
  layerNorm: 'x (…,D), scale (D), bias? (D) → (…,D)',
  rowLength: 'w (V,D) → (V)',
  silu: 'x (…) → (…)',
  gelu: 'x (…) → (…)',
  geluTanh: 'x (…) → (…)',
  quickGelu: 'x (…) → (…)',
  relu: 'x (…) → (…)',
  squaredRelu: 'x (…) → (…)',
  tanh: 'x (…) → (…)',
  embedding: 'table (V,D), int64 ids (…) → (…,D)',
  countPositions: 'int64 ids (B,T) → int64 (B,T)',
  reshape: {
    expects: 'a shape of as many elements',
    result([x, ...more], { shape }, { reshape }) {
      const dims = x && more.length === 0 ? reshape(x.dims, shape) : undefined
      return x && dims && { type: x.type, dims }
    },
  },
  transpose: {
    expects: 'an order that names each axis once',
    result([x, ...more], { order }) {
      if (x === undefined || more.length > 0 || order.length !== x.dims.length) return undefined
      const isOrder = x.dims.every((_, axis) => order.includes(axis))
      return isOrder ? { type: x.type, dims: order.map((axis) => x.dims[axis]!) } : undefined
    },
  },
  slice: {
    expects: '0 ≤ start < end ≤ the size of that axis',
    result([x, ...more], { axis, start, end }, { sizeOf }) {
      const at = axisOf(x, axis)
      if (x === undefined || at === undefined || more.length > 0 || start < 0 || end <= start) return undefined
      const size = sizeOf(x.dims[at]!)
      return typeof size === 'number' && end > size ? undefined : { type: x.type, dims: x.dims.with(at, end - start) }
    },
  },
  concat: {
    expects: 'tensors of one type that differ along that axis alone',
    result([first, ...others], { axis }, { allAgree }) {
      const at = axisOf(first, axis)
      if (first === undefined || at === undefined) return undefined
      const fits = ({ type, dims }: Shape) =>
        type === first.type && at < dims.length && allAgree(dims.toSpliced(at, 1), first.dims.toSpliced(at, 1))
      if (!others.every(fits)) return undefined
      const size = others.reduce((sum, { dims }) => sumOf(sum, dims[at]!), first.dims[at]!)
      return { type: first.type, dims: first.dims.with(at, size) }
    },
  },
  gather: {
    expects: 'x with that axis and int64 index (N)',
    result([x, index, ...more], { axis }) {
      const at = axisOf(x, axis)
      if (x === undefined || at === undefined || index?.type !== 'int64' || index.dims.length !== 1) return undefined
      return more.length > 0 ? undefined : { type: x.type, dims: x.dims.with(at, index.dims[0]!) }
    },
  },
  scale: 'x (…) → (…)',
  roundToBfloat16: 'x (…) → (…)',
  shift: 'x (…) → (…)',
  softmax: 'x (…,V) → (…,V)',
  logSumExp: 'x (…,V) → (…)',
  logProbability(_, [, index]) {
    const places = index?.dims.length === 2 ? '(N,W)' : '(N)'
    return `logits (N,V), int64 index ${places} → ${places}`
  },
  outputDistance: 'dense (N,V), pruned (N,V) → (N)',
  pick: 'x (N,V), int64 index (N) → (N)',
  largest: 'x (N,V), int64 count (1) → (N,W)',
  sum: {
    expects: 'floats x with those axes',
    result([x, ...more], { axes, keepDims }) {
      if (!areFloats(x) || more.length > 0 || !axes.every((axis) => axis in x!.dims)) return undefined
      const kept = keepDims ? x!.dims.map((dim, axis) => (axes.includes(axis) ? 1 : dim)) : undefined
      return { type: 'float32', dims: kept ?? x!.dims.filter((_, axis) => !axes.includes(axis)) }
    },
  },
  mean: 'x (…,D) → (…,1)',
  reciprocalRoot: 'x (…) → (…)',
  exp: 'x (…) → (…)',
  erf: 'x (…) → (…)',
  sigmoid: 'x (…) → (…)',
  step: 'x (…) → (…)',
  reshapeLike: {
    expects: 'as many elements in both',
    result([x, like, ...more], _, { countsAgree }) {
      if (x === undefined || like === undefined || more.length > 0 || !countsAgree(x.dims, like.dims)) return undefined
      return { type: x.type, dims: like.dims }
    },
  },
  padLike: {
    expects: 'x like the second but along that axis, where it fits from that start on',
    result([x, like, ...more], { axis, start }, { allAgree, sizeOf }) {
      const at = axisOf(x, axis)
      if (!areFloats(x, like) || at === undefined || at >= like!.dims.length || more.length > 0) return undefined
      const [part, whole] = [sizeOf(x!.dims[at]!), sizeOf(like!.dims[at]!)]
      if (!allAgree(x!.dims.toSpliced(at, 1), like!.dims.toSpliced(at, 1)) || start < 0) return undefined
      return typeof part === 'number' && start + part > Number(whole) ? undefined : like
    },
  },
  ungather: {
    expects: 'x like the third but along that axis, and int64 index (N) of its size there',
    result([x, index, like, ...more], { axis }, { agree, allAgree }) {
      const at = axisOf(x, axis)
      if (!areFloats(x, like) || at === undefined || index?.type !== 'int64' || more.length > 0) return undefined
      if (index.dims.length !== 1 || !agree(index.dims[0]!, x!.dims[at]!)) return undefined
      return allAgree(x!.dims.toSpliced(at, 1), like!.dims.toSpliced(at, 1)) ? like : undefined
    },
  },
  unpick(_, [, index]) {
    const places = index?.dims.length === 2 ? '(N,W)' : '(N)'
    return `x ${places}, int64 index ${places}, like (N,V) → (N,V)`
  },
  outerSum: {
    expects: 'floats a (…,O) and b (…,I)',
    result([a, b, ...more], _, { allAgree }) {
      if (!areFloats(a, b) || more.length > 0 || a!.dims.length === 0 || b!.dims.length === 0) return undefined
      if (!allAgree(a!.dims.slice(0, -1), b!.dims.slice(0, -1))) return undefined
      return { type: 'float32', dims: [a!.dims.at(-1)!, b!.dims.at(-1)!] }
    },
  },
  groupQueryAttention({ heads, kvHeads }, { length }) {
    const turned = length > 5 ? ', cos (T,R), sin (T,R)' : ''
    const keys = `${kvHeads}*E`
    return `q (B,T,${heads}*E), k (B,T,${keys}), v (B,T,${keys}), int32 last (B), int32 length ()${turned} → (B,T,${heads}*E)`
  },
  multiHeadAttention({ heads, padded, biased }) {
    const padding = padded ? ', int32 padding (B,S)' : ''
    const bias = biased ? `, bias (1,${heads},T,S)` : ''
    return `q (B,T,${heads}*E), k (B,S,${heads}*E), v (B,S,${heads}*E)${padding}${bias} → (B,T,${heads}*E)`
  },
}

/**
 * Type and dimensions of what `op` gives for these operands, in the graph called `graph`.
 *
 * Throws a `RangeError` that names the graph, the operation and its operands where they don't fit.
 */
export function shapeOfResult<Op extends Operation>(
  graph: string,
  op: Op,
  operands: readonly Value[],
  attributes: OperationAttributes[Op],
  letters: Letters,
): Shape {
  const rule: ShapeRule<Op> = shapeRules[op]
  const custom = typeof rule === 'object' ? rule : undefined
  const signature = typeof rule === 'function' ? rule(attributes, operands) : typeof rule === 'string' ? rule : ''
  const shape = custom ? custom.result(operands, attributes, letters) : resultOf(signature, operands, letters)
  if (shape !== undefined) return { type: shape.type, dims: shape.dims }
  const found = operands.map((operand) => `${operand.name} ${describe(operand, letters)}`).join(', ')
  const settings = custom === undefined || Object.keys(attributes).length === 0 ? '' : ` ${JSON.stringify(attributes)}`
  const expected = custom?.expects ?? signature.split(' → ')[0]
  throw new RangeError(`${graph}: ${op}${settings} of ${found}, expected ${expected}`)
}

function describe({ type, dims }: Shape, { sizeOf }: Letters): string {
  const sizes = dims.map((dim) => (sizeOf(dim) === dim ? dim : `${dim}=${sizeOf(dim)}`))
  return `(${sizes})${type === 'float32' ? '' : ` ${type}`}`
}

const areFloats = (...operands: (Shape | undefined)[]) => operands.every((operand) => operand?.type === 'float32')

/** The axis counted from the first, or undefined where x has no such axis. */
function axisOf(x: Shape | undefined, axis: number): number | undefined {
  const rank = x?.dims.length ?? 0
  return axis >= -rank && axis < rank ? (axis + rank) % rank : undefined
}
