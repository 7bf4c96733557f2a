import type { BackwardAttributes } from './backwardOperations.ts'
import type { Dims } from './dimensions.ts'
import { newScribe, type OnnxScribe } from './onnxScribe.ts'
import type { Value } from './operations.ts'
import type { Lowered } from './toOnnx.ts'

/** A node and what its tensors are called in the ONNX graph. */
interface Placed<Op extends keyof BackwardAttributes> {
  readonly attributes: BackwardAttributes[Op]
  readonly inputs: readonly string[]
  readonly output: string
  /** Shapes of the inputs. */
  readonly dims: readonly Dims[]
  /** Only operators that every provider has. */
  readonly portable: boolean
}

/** The ONNX form of one operation of gradients. */
export function lowerBackward<Op extends keyof BackwardAttributes>(
  op: Op,
  attributes: BackwardAttributes[Op],
  values: readonly Value[],
  { inputs, output }: { readonly inputs: readonly string[]; readonly output: string },
  portable = false,
): Lowered {
  const scribe = newScribe(output)
  lowerings[op](scribe, { attributes, inputs, output, dims: values.map(({ dims }) => dims), portable })
  return scribe
}

type Lowerings = { readonly [Op in keyof BackwardAttributes]: (s: OnnxScribe, placed: Placed<Op>) => void }

const lowerings: Lowerings = {
  sum: (s, { attributes: { axes, keepDims }, inputs: [x], output }) =>
    void s.node('ReduceSum', [x!, s.int64(...axes)], { keepdims: { int: keepDims ? 1 : 0 } }, output),
  mean: (s, { inputs: [x], output }) => void s.node('ReduceMean', [x!, s.int64(-1)], { keepdims: { int: 1 } }, output),
  reciprocalRoot: (s, { inputs, output }) => void s.node('Reciprocal', [s.node('Sqrt', inputs)], {}, output),
  exp: (s, { inputs, output }) => void s.node('Exp', inputs, {}, output),
  erf: (s, { inputs, output }) => void s.node('Erf', inputs, {}, output),
  sigmoid: (s, { inputs, output }) => void s.node('Sigmoid', inputs, {}, output),
  // relu of the sign: -1, 0 and 1 become 0, 0 and 1
  step: (s, { inputs, output }) => void s.node('Relu', [s.node('Sign', inputs)], {}, output),
  reshapeLike: (s, { inputs: [x, like], output }) => void s.node('Reshape', [x!, s.node('Shape', [like!])], {}, output),
  // pads of all axes: onnxruntime 1.30 moves a Transpose past a Pad as if it had no `axes`
  padLike(s, { attributes: { axis, start }, inputs: [x, like], output, dims: [from, to] }) {
    const at = axis < 0 ? axis + from!.length : axis
    const [part, whole] = [from![at]!, to![at]!]
    const [before, behind] = [from!.map((_, i) => (i === at ? start : 0)), from!.map(() => 0)]
    if (typeof part === 'number' && typeof whole === 'number') {
      s.node('Pad', [x!, s.int64(...before, ...behind.with(at, whole - part - start))], {}, output)
      return
    }
    const sizeOf = (value: string) => s.node('Shape', [value], { start: { int: at }, end: { int: at + 1 } })
    const after = s.node('Sub', [s.node('Sub', [sizeOf(like!), sizeOf(x!)]), s.int64(start)])
    const rest = behind.slice(at + 1)
    const parts = [s.int64(...before, ...behind.slice(0, at)), after, ...(rest.length > 0 ? [s.int64(...rest)] : [])]
    s.node('Pad', [x!, s.node('Concat', parts, { axis: { int: 0 } })], {}, output)
  },
  ungather(s, { attributes: { axis }, inputs: [x, index, like], output, dims: [from] }) {
    const at = axis < 0 ? axis + from!.length : axis
    const wide = s.node('Reshape', [index!, s.int64(...from!.map((_, i) => (i === at ? -1 : 1)))])
    const places = s.node('Expand', [wide, s.node('Shape', [x!])])
    const zeros = s.node('ConstantOfShape', [s.node('Shape', [like!])])
    s.node('ScatterElements', [zeros, places, x!], { axis: { int: at } }, output)
  },
  unpick(s, { inputs: [x, index, like], output, dims: [from] }) {
    const column = (value: string) => (from!.length === 1 ? s.node('Unsqueeze', [value, s.int64(1)]) : value)
    const zeros = s.node('ConstantOfShape', [s.node('Shape', [like!])])
    const attributes = { axis: { int: 1 }, reduction: { string: 'add' } }
    s.node('ScatterElements', [zeros, column(index!), column(x!)], attributes, output)
  },
  outerSum(s, { inputs, output, dims, portable }) {
    const flat = inputs.map((value, i) => s.node('Flatten', [value], { axis: { int: dims[i]!.length - 1 } }))
    const [a, b] = flat as [string, string]
    if (portable) s.node('MatMul', [s.node('Transpose', [a], { perm: { ints: [1, 0] } }), b], {}, output)
    else s.node('FusedMatMul', [a, b], { transA: { int: 1 } }, output)
  },
}
