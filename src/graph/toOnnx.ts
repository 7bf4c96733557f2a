import { elementTypes, encodeOnnx, type OnnxInitializer, type OnnxNode } from '../format/onnx/encode.ts'
import { lowerGroupQueryAttention, type QueryPieces } from './attentionToOnnx.ts'
import type { BackwardAttributes } from './backwardOperations.ts'
import { lowerBackward } from './backwardToOnnx.ts'
import type { Graph } from './graph.ts'
import { lowerLogProbability } from './logProbabilityToOnnx.ts'
import type { Node, Operation } from './operations.ts'
import { lowerOutputDistance } from './outputDistanceToOnnx.ts'

/** The standard operators and onnxruntime's own, at the versions our lowerings are written for. */
export const opsets = { '': 21, 'com.microsoft': 1 }

/** What a lowering is made for. */
export interface Target {
  /** Rows of that many tokens. */
  readonly pieces?: QueryPieces | undefined
  /** Only operators that every provider of onnxruntime 1.30 has: WebGPU's lacks FusedMatMul and LogSoftmax, and leaves them to the CPU. */
  readonly portable?: boolean | undefined
}

/** The .onnx bytes of `graph`, weights as inputs. */
export function graphToOnnx(graph: Graph, target: Target = {}): Uint8Array {
  const lowered = graph.nodes.map((node) =>
    lowerNode(node, { inputs: node.inputs.map(({ name }) => name), output: node.output.name }, target),
  )
  return encodeOnnx({
    name: graph.name,
    opsets,
    nodes: lowered.flatMap(({ nodes }) => nodes),
    initializers: lowered.flatMap(({ initializers }) => initializers),
    inputs: graph.inputs.map(({ value }) => value),
    outputs: graph.outputs.map(({ value }) => value),
  })
}

/** The ONNX form of one of our operations. */
export interface Lowered {
  readonly nodes: readonly OnnxNode[]
  readonly initializers: readonly OnnxInitializer[]
}

/** The ONNX nodes of one node, with the constants they need. */
export function lowerNode(node: Node, names: Names, target: Target = {}): Lowered {
  const lower = lowerings[node.op] as (node: Node, names: Names, target: Target) => Lowered
  return lower(node, names, target)
}

/** What the tensors that a node reads and writes are called in the ONNX graph. */
interface Names {
  readonly inputs: readonly string[]
  readonly output: string
}

type Lowerings = {
  [Op in Operation]: (node: Extract<Node, { op: Op }>, names: Names, target: Target) => Lowered
}

const lowerings: Lowerings = {
  linear({ attributes }, { inputs: [x, w, bias], output }, { portable }) {
    const product = bias === undefined ? output : `${output}_product`
    const matmul = attributes.inputFirst
      ? [{ type: 'MatMul', inputs: [x!, w!], outputs: [product] }]
      : timesTransposed(x!, w!, product, portable)
    const add = { type: 'Add', inputs: [product, bias ?? ''], outputs: [output] }
    return { nodes: bias === undefined ? matmul : [...matmul, add], initializers: [] }
  },
  matmul: plain('MatMul'),
  add: plain('Add'),
  mul: plain('Mul'),
  div: plain('Div'),
  // registered by onnxruntime in the standard domain although ONNX does not define it
  rmsNorm: ({ attributes }, names) =>
    one('SimplifiedLayerNormalization', names, { axis: { int: -1 }, epsilon: { float: attributes.epsilon } }),
  layerNorm: ({ attributes }, names) =>
    one('LayerNormalization', names, { axis: { int: -1 }, epsilon: { float: attributes.epsilon } }),
  rowLength(_, { inputs: [w], output }) {
    const axis = constant(`${output}_axis`, [-1])
    const least = scalar(`${output}_least`, 1e-12)
    const length = `${output}_length`
    return {
      nodes: [
        { type: 'ReduceL2', inputs: [w!, axis.name], outputs: [length], attributes: { keepdims: { int: 0 } } },
        { type: 'Max', inputs: [length, least.name], outputs: [output] },
      ],
      initializers: [axis, least],
    }
  },
  silu: (_, names) => sigmoidTimes(names, 1),
  gelu: plain('Gelu'),
  geluTanh: (_, names) => one('Gelu', names, { approximate: { string: 'tanh' } }),
  quickGelu: (_, names) => sigmoidTimes(names, 1.702),
  relu: plain('Relu'),
  squaredRelu(_, { inputs, output }) {
    const positive = `${output}_positive`
    return {
      nodes: [
        { type: 'Relu', inputs, outputs: [positive] },
        { type: 'Mul', inputs: [positive, positive], outputs: [output] },
      ],
      initializers: [],
    }
  },
  tanh: plain('Tanh'),
  embedding: plain('Gather'),
  countPositions({ attributes: { offset, uncounted } }, { inputs: [ids], output }) {
    const name = (part: string) => `${output}_${part}`
    const [id, axis, first] = [
      constant(name('id'), [uncounted]),
      constant(name('axis'), [1]),
      constant(name('first'), [offset - 1]),
    ]
    const toInt64 = { to: { int: elementTypes.int64 } }
    return {
      nodes: [
        { type: 'Equal', inputs: [ids!, id.name], outputs: [name('isId')] },
        { type: 'Not', inputs: [name('isId')], outputs: [name('isCounted')] },
        { type: 'Cast', inputs: [name('isCounted')], outputs: [name('counted')], attributes: toInt64 },
        { type: 'CumSum', inputs: [name('counted'), axis.name], outputs: [name('sums')] },
        { type: 'Mul', inputs: [name('sums'), name('counted')], outputs: [name('places')] },
        { type: 'Add', inputs: [name('places'), first.name], outputs: [output] },
      ],
      initializers: [id, axis, first],
    }
  },
  reshape: ({ attributes }, names) => withConstants('Reshape', names, [attributes.shape]),
  transpose: ({ attributes }, names) => one('Transpose', names, { perm: { ints: attributes.order } }),
  slice: ({ attributes: { axis, start, end } }, names) => withConstants('Slice', names, [[start], [end], [axis]]),
  concat: ({ attributes }, names) => one('Concat', names, { axis: { int: attributes.axis } }),
  gather: ({ attributes }, names) => one('Gather', names, { axis: { int: attributes.axis } }),
  scale: ({ attributes }, names) => withScalar('Mul', names, attributes.by),
  shift: ({ attributes }, names) => withScalar('Add', names, attributes.by),
  roundToBfloat16(_, { inputs, output }) {
    const rounded = `${output}_bfloat16`
    return {
      nodes: [
        { type: 'Cast', inputs, outputs: [rounded], attributes: { to: { int: elementTypes.bfloat16 } } },
        { type: 'Cast', inputs: [rounded], outputs: [output], attributes: { to: { int: elementTypes.float32 } } },
      ],
      initializers: [],
    }
  },
  softmax: (_, names) => one('Softmax', names, { axis: { int: -1 } }),
  logSumExp: (_, names) => withConstants('ReduceLogSumExp', names, [[-1]], { keepdims: { int: 0 } }),
  logProbability: ({ attributes, output: { dims } }, { inputs: [logits, index], output }, { portable }) =>
    lowerLogProbability(attributes.vocabulary, dims.length, { logits: logits!, index: index!, output }, portable),
  outputDistance: ({ attributes }, { inputs: [dense, pruned], output }) =>
    lowerOutputDistance(attributes.measure, dense!, pruned!, output),
  pick(_, { inputs: [x, index], output }) {
    const axis = constant(`${output}_axis`, [1])
    const [column, picked] = [`${output}_index`, `${output}_column`]
    return {
      nodes: [
        { type: 'Unsqueeze', inputs: [index!, axis.name], outputs: [column] },
        { type: 'GatherElements', inputs: [x!, column], outputs: [picked], attributes: { axis: { int: 1 } } },
        { type: 'Squeeze', inputs: [picked, axis.name], outputs: [output] },
      ],
      initializers: [axis],
    }
  },
  largest(_, { inputs, output }) {
    const [values, places] = [`${output}_values`, `${output}_places`]
    return {
      nodes: [
        { type: 'TopK', inputs, outputs: [values, places], attributes: { axis: { int: -1 } } },
        { type: 'Cast', inputs: [places], outputs: [output], attributes: { to: { int: elementTypes.float32 } } },
      ],
      initializers: [],
    }
  },
  multiHeadAttention({ attributes: { heads, scale, causal, padded, biased } }, { inputs, output }) {
    const [q, k, v, ...others] = inputs as string[]
    const padding = padded ? others.shift()! : ''
    const bias = biased ? others.shift()! : ''
    return {
      nodes: [
        {
          type: 'MultiHeadAttention',
          domain: 'com.microsoft',
          inputs: [q!, k!, v!, '', padding, bias],
          outputs: [output],
          attributes: { num_heads: { int: heads }, scale: { float: scale }, unidirectional: { int: causal ? 1 : 0 } },
        },
      ],
      initializers: [],
    }
  },
  sum: backward,
  mean: backward,
  reciprocalRoot: backward,
  exp: backward,
  erf: backward,
  sigmoid: backward,
  step: backward,
  reshapeLike: backward,
  padLike: backward,
  ungather: backward,
  unpick: backward,
  outerSum: backward,
  groupQueryAttention: ({ attributes }, names, { pieces }) => lowerGroupQueryAttention(attributes, names, pieces),
}

/** x wᵀ, w as checkpoints have it, (out, in), and x with any number of axes. */
function timesTransposed(x: string, w: string, output: string, portable = false): OnnxNode[] {
  const transB = { transB: { int: 1 } }
  if (!portable) {
    return [{ type: 'FusedMatMul', domain: 'com.microsoft', inputs: [x, w], outputs: [output], attributes: transB }]
  }
  const turned = `${output}_turned`
  return [
    { type: 'Transpose', inputs: [w], outputs: [turned], attributes: { perm: { ints: [1, 0] } } },
    { type: 'MatMul', inputs: [x, turned], outputs: [output] },
  ]
}

/** An operation of gradients. */
function backward(node: Extract<Node, { op: keyof BackwardAttributes }>, names: Names, { portable }: Target): Lowered {
  return lowerBackward(node.op, node.attributes, node.inputs, names, portable)
}

function plain(type: string) {
  return (_: Node, names: Names) => one(type, names)
}

function one(type: string, { inputs, output }: Names, attributes: OnnxNode['attributes'] = {}): Lowered {
  return { nodes: [{ type, inputs, outputs: [output], attributes }], initializers: [] }
}

/** x · sigmoid(α x) in one pass. */
const sigmoidTimes = (names: Names, alpha: number): Lowered => {
  const { nodes } = one('QuickGelu', names, { alpha: { float: alpha } })
  return { nodes: nodes.map((node) => ({ ...node, domain: 'com.microsoft' })), initializers: [] }
}

function withConstants(
  type: string,
  { inputs, output }: Names,
  values: readonly (readonly number[])[],
  attributes: OnnxNode['attributes'] = {},
): Lowered {
  const initializers = values.map((value, i) => constant(`${output}_${i}`, value))
  return {
    nodes: [{ type, inputs: [...inputs, ...initializers.map(({ name }) => name)], outputs: [output], attributes }],
    initializers,
  }
}

function withScalar(type: string, { inputs, output }: Names, value: number): Lowered {
  const by = scalar(`${output}_by`, value)
  return { nodes: [{ type, inputs: [...inputs, by.name], outputs: [output] }], initializers: [by] }
}

function scalar(name: string, value: number): OnnxInitializer {
  return { name, type: 'float32', dims: [], data: new Uint8Array(Float32Array.of(value).buffer) }
}

function constant(name: string, values: readonly number[]): OnnxInitializer {
  const data = new Uint8Array(BigInt64Array.from(values, BigInt).buffer)
  return { name, type: 'int64', dims: [values.length], data }
}
