import { UnsupportedModelError } from '../errors.ts'
import { elementTypes, type OnnxInitializer, type OnnxNode, type OnnxValue } from '../format/onnx/encode.ts'
import type { Environment, Graph, GraphInput } from '../graph/graph.ts'
import type { Node } from '../graph/operations.ts'
import { programOf, type Stage } from '../graph/program.ts'
import { lowerNode } from '../graph/toOnnx.ts'
import { findRole, pieceAxes, pieceRuns, shapeOf, sliceTensor } from '../model/axes.ts'
import { countOf } from '../model/configValue.ts'
import type { Model } from '../model/model.ts'
import { unitOf } from '../model/plan.ts'
import {
  blockChannels,
  blockConstants,
  float16Constant,
  float32Constant,
  type OnnxConstant,
  tableConstants,
  type WeightValues,
} from './onnxWeights.ts'

/** How matrices are stored and multiplied; the names are those of transformers.js. */
export type OnnxDtype = 'fp32' | 'fp16' | 'q8' | 'q4'

/** A whole decoder as one graph, its weights not yet read. */
export interface ComposedOnnx {
  readonly nodes: readonly OnnxNode[]
  /** Constants of some bytes. */
  readonly initializers: readonly OnnxInitializer[]
  /** Weights and tables, for files beside the model. */
  readonly constants: readonly OnnxConstant[]
  readonly inputs: readonly OnnxValue[]
  readonly outputs: readonly OnnxValue[]
  /** Key/value heads of each cache slot. */
  readonly cacheHeads: readonly number[]
}

/** Longest table of rotary positions: 128 MiB of cosines for heads of 256. */
const maxPositions = 2 ** 18

/**
 * The decoder `model`, plans already applied, as transformers.js calls it: the stages of the engine's own program one after
 * the other, weights as constants. `input_ids` (B,T), `attention_mask` (B,P+T) and `past_key_values.N.key|value` (B,K,P,E)
 * → `logits` (B,L,V) and `present.N.key|value`; N counts the attentions there are, from 0. `num_logits_to_keep` () says L:
 * the last so many positions, 0 for all. Rows are padded on the right, if at all.
 *
 * - fp16: products, attention and caches in half precision; the residual stream, norms and logits in float32.
 * - q8: matrices of 8 bits in blocks of 32 (MatMulNBits), their inputs quantised in blocks as they come; embedding of 8
 *   bits. DynamicQuantizeMatMul, which other exporters write here, has one scale for a whole input: with the few large
 *   channels of SmolLM2-135M it moves the predictions by 0.4 nats, blocks by 0.006.
 * - q4: the same with 4 bits, but for the head, which has 8.
 *
 * Throws `UnsupportedModelError` for attention that onnxruntime's GroupQueryAttention does not compute.
 */
export function composeDecoder(model: Model, dtype: OnnxDtype): ComposedOnnx {
  if (model.architecture.family !== 'decoder') {
    throw new UnsupportedModelError(
      `${model.id}: is an ${model.architecture.family}, expected a decoder for the ONNX export; export to huggingface`,
    )
  }
  const program = programOf(model, 'fused')
  if (program.heads === undefined) throw new RangeError(`${model.id}: a decoder without a head`)
  const sheet = new Sheet(model, dtype)
  for (const stage of program.stages) {
    const graph = stage.graph(stage.block?.units ?? 0)
    const written = graph === 'copy' ? sheet.state(stage.reads['hidden'] ?? 'hidden') : sheet.place(stage, graph)
    sheet.setState(stage.writes, written)
  }
  sheet.keepLastPositions()
  const { graph, weights } = program.heads.logits
  const head: Stage = { name: headStage, ids: 'ids', reads: {}, writes: 'hidden', weights, graph: () => graph }
  return sheet.finish(sheet.place(head, graph))
}

const headStage = 'head'

type Precision = 'float32' | 'float16'

/** A graph being written: names made unique by the stage's, each constant once, values of two precisions. */
class Sheet {
  readonly #nodes: OnnxNode[] = []
  readonly #initializers: OnnxInitializer[] = []
  readonly #constants = new Map<string, OnnxConstant>()
  readonly #states = new Map<string, string>()
  readonly #environments = new Map<string, string>()
  readonly #precisions = new Map<string, Precision>()
  readonly #casts = new Map<string, string>()
  readonly #cacheHeads: number[] = []
  readonly #model: Model
  readonly #dtype: OnnxDtype

  constructor(model: Model, dtype: OnnxDtype) {
    this.#model = model
    this.#dtype = dtype
  }

  state(name: string): string {
    const value = this.#states.get(name)
    if (value === undefined) throw new RangeError(`state ${name} is read before it is written`)
    return value
  }

  setState(name: string, value: string): void {
    this.#states.set(name, value)
  }

  /** Writes the nodes of a stage and returns the value that is its output. */
  place(stage: Stage, graph: Graph): string {
    const names = new Map<string, string>()
    const weights = new Map<string, WeightValues>()
    for (const input of graph.inputs) {
      const { source, value } = input
      if (source.from === 'weight') weights.set(value.name, this.#weightOf(stage, source.role))
      else names.set(value.name, this.#inputOf(stage, input))
    }
    for (const node of graph.nodes) {
      names.set(node.output.name, this.#placeNode(stage, node, names, weights))
    }
    const output = names.get(graph.outputs[0]!.value.name)
    if (output === undefined) throw new RangeError(`${stage.name}: its graph has no output`)
    return output
  }

  /** Cuts `hidden` (B,T,D) to its last `num_logits_to_keep` positions: the head is the widest product of a model. */
  keepLastPositions(): void {
    const [one, last, axis] = [
      this.#int64('shape_1', [1]),
      this.#int64('int64_max', [2n ** 63n - 1n]),
      this.#int64('axis_1', [1]),
    ]
    this.#node('Reshape', ['num_logits_to_keep', one], 'keep')
    this.#node('Neg', ['keep'], 'keep_from')
    const kept = this.#node(
      'Slice',
      [this.#as(this.state('hidden'), 'float32'), 'keep_from', last, axis],
      'kept_hidden',
    )
    this.setState('hidden', kept)
  }

  finish(logits: string): ComposedOnnx {
    this.#node('Identity', [this.#as(logits, 'float32')], 'logits')
    const { V, E } = this.#model.sizes as { V: number; E: number }
    const cacheType = this.#dtype === 'fp16' ? 'float16' : 'float32'
    const caches = (name: string, length: string): OnnxValue[] =>
      this.#cacheHeads.flatMap((heads, slot) =>
        ['key', 'value'].map((part) => ({
          name: `${name}.${slot}.${part}`,
          type: cacheType,
          dims: ['batch_size', heads, length, E],
        })),
      )
    const withCaches = this.#cacheHeads.length > 0
    return {
      nodes: this.#nodes,
      initializers: this.#initializers,
      constants: [...this.#constants.values()],
      inputs: [
        { name: 'input_ids', type: 'int64', dims: ['batch_size', 'sequence_length'] },
        ...(withCaches
          ? [{ name: 'attention_mask', type: 'int64', dims: ['batch_size', 'total_sequence_length'] } as const]
          : []),
        { name: 'num_logits_to_keep', type: 'int64', dims: [] },
        ...caches('past_key_values', 'past_sequence_length'),
      ],
      outputs: [
        { name: 'logits', type: 'float32', dims: ['batch_size', 'num_logits', V] },
        ...caches('present', 'total_sequence_length'),
      ],
      cacheHeads: this.#cacheHeads,
    }
  }

  #placeNode(
    stage: Stage,
    node: Node,
    names: ReadonlyMap<string, string>,
    weights: ReadonlyMap<string, WeightValues>,
  ): string {
    const output = `${stage.name}/${node.output.name}`
    const weight = (position: number): WeightValues | undefined => weights.get(node.inputs[position]?.name ?? '')
    const value = (position: number, precision: Precision): string => {
      const { name } = node.inputs[position]!
      const own = weights.get(name)
      if (own !== undefined)
        return this.#constant(precision === 'float16' ? float16Constant(own) : float32Constant(own))
      return this.#as(names.get(name)!, precision)
    }
    const matrix = weight(1)
    if (node.op === 'linear' && matrix !== undefined) {
      const bias = weight(2)
      return this.#placeLinear(stage, value, matrix, bias, node.attributes.inputFirst === true, output)
    }
    const table = weight(0)
    if (node.op === 'embedding' && table !== undefined)
      return this.#placeEmbedding(table, names.get(node.inputs[1]!.name)!, output)

    const inHalf = this.#dtype === 'fp16' && (node.op === 'groupQueryAttention' || this.#staysHalf(node, names))
    const precision: Precision = inHalf ? 'float16' : 'float32'
    const inputs = node.inputs.map((_, position) => value(position, precision))
    const renamed = { ...node, inputs: inputs.map((name) => ({ name })), output: { name: output } } as Node
    const lowered = lowerNode(renamed)
    this.#initializers.push(...lowered.initializers)
    this.#nodes.push(
      ...lowered.nodes.map((each) =>
        node.op === 'groupQueryAttention' ? this.#withCache(each, node.attributes.kvHeads) : each,
      ),
    )
    this.#precisions.set(output, precision)
    return output
  }

  /** Element-wise operations go on in the precision they are handed; their results stay small enough for a half. */
  #staysHalf(node: Node, names: ReadonlyMap<string, string>): boolean {
    const stays = ['silu', 'gelu', 'geluTanh', 'relu', 'mul', 'reshape']
    return (
      stays.includes(node.op) &&
      node.inputs.every(({ name }) => this.#precisions.get(names.get(name) ?? '') === 'float16')
    )
  }

  #placeLinear(
    stage: Stage,
    value: (position: number, precision: Precision) => string,
    matrix: WeightValues,
    bias: WeightValues | undefined,
    inputFirst: boolean,
    output: string,
  ): string {
    const product = bias === undefined ? output : `${output}/product`
    const precision: Precision = this.#dtype === 'fp16' ? 'float16' : 'float32'
    const x = value(0, precision)
    const write: Record<OnnxDtype, () => void> = {
      fp32: () => this.#product(x, this.#constant(float32Constant(matrix)), inputFirst, product),
      fp16: () => this.#product(x, this.#constant(float16Constant(matrix)), inputFirst, product),
      q8: () => this.#blockProduct(x, matrix, inputFirst, 8, product),
      q4: () => this.#blockProduct(x, matrix, inputFirst, stage.name === headStage ? 8 : 4, product),
    }
    write[this.#dtype]()
    if (bias !== undefined) {
      const constant = precision === 'float16' ? float16Constant(bias) : float32Constant(bias)
      this.#node('Add', [product, this.#constant(constant)], output)
    }
    this.#precisions.set(output, precision)
    return output
  }

  #blockProduct(x: string, matrix: WeightValues, inputFirst: boolean, bits: 4 | 8, output: string): void {
    const [first, second] = matrix.dims as [number, number]
    const [outputs, inputs] = inputFirst ? [second, first] : [first, second]
    const constants = blockConstants(matrix, inputFirst, bits).map((each) => this.#constant(each))
    const attributes = {
      K: { int: inputs },
      N: { int: outputs },
      bits: { int: bits },
      block_size: { int: blockChannels },
      // inputs in blocks of 8 bits too: ten times faster for one token on a CPU than in float32, which is the default
      accuracy_level: { int: 4 },
    }
    this.#node('MatMulNBits', [x, ...constants], output, attributes, 'com.microsoft')
  }

  /** x wᵀ with w (O,I) as checkpoints have it, or x w with w (I,O). */
  #product(x: string, w: string, inputFirst: boolean, output: string): void {
    if (inputFirst) this.#node('MatMul', [x, w], output)
    else this.#node('FusedMatMul', [x, w], output, { transB: { int: 1 } }, 'com.microsoft')
  }

  #placeEmbedding(table: WeightValues, ids: string, output: string): string {
    if (this.#dtype === 'fp32' || this.#dtype === 'fp16') {
      const precision: Precision = this.#dtype === 'fp16' ? 'float16' : 'float32'
      const constant = precision === 'float16' ? float16Constant(table) : float32Constant(table)
      this.#node('Gather', [this.#constant(constant), ids], output)
      this.#precisions.set(output, precision)
      return output
    }
    const parts = tableConstants(table).map((each, i) =>
      this.#node('Gather', [this.#constant(each), ids], `${output}/part_${i}`),
    )
    const [codes, scales, zeros] = parts as [string, string, string]
    const toFloat = { to: { int: elementTypes.float32 } }
    const code = this.#node('Cast', [codes], `${output}/code`, toFloat)
    const zero = this.#node('Cast', [zeros], `${output}/zero`, toFloat)
    const centred = this.#node('Sub', [code, zero], `${output}/centred`)
    return this.#node('Mul', [centred, scales], output)
  }

  /** The same attention with the keys and values of earlier calls before its own. */
  #withCache(node: OnnxNode, kvHeads: number): OnnxNode {
    const slot = this.#cacheHeads.push(kvHeads) - 1
    const inputs = [...node.inputs]
    inputs[3] = `past_key_values.${slot}.key`
    inputs[4] = `past_key_values.${slot}.value`
    return { ...node, inputs, outputs: [node.outputs[0]!, `present.${slot}.key`, `present.${slot}.value`] }
  }

  #inputOf(stage: Stage, { source, value }: GraphInput): string {
    if (source.from === 'state') return this.state(stage.reads[source.name] ?? source.name)
    if (source.from === 'data' && source.name === 'ids') return 'input_ids'
    if (source.from === 'environment') {
      const key = JSON.stringify(source.of)
      let name = this.#environments.get(key)
      if (name === undefined) {
        name = this.#environment(source.of)
        this.#environments.set(key, name)
      }
      return name
    }
    throw new UnsupportedModelError(
      `${this.#model.id}: ${stage.name} reads ${value.name}, which the ONNX export of a decoder has not; export to huggingface`,
    )
  }

  #environment(of: Environment): string {
    const make: Record<Environment['type'], (() => string) | undefined> = {
      rotaryCos: () => this.#rotaryTable(of, 'cos', Math.cos),
      rotarySin: () => this.#rotaryTable(of, 'sin', Math.sin),
      lastPosition: () => this.#lastPosition(),
      length: () => this.#totalLength(),
      positionIndex: () => this.#positionIndex(of.type === 'positionIndex' ? of.offset : 0),
      keyPositions: undefined,
      causalMask: undefined,
      sinusoids: undefined,
      distanceBuckets: undefined,
    }
    const found = make[of.type]
    if (found === undefined) {
      throw new UnsupportedModelError(
        `${this.#model.id}: its attention needs ${of.type}, expected a form that onnxruntime's GroupQueryAttention computes with a cache (rotary or learned positions, heads of a multiple of 16 channels); export to huggingface`,
      )
    }
    return found()
  }

  /** (P,R/2) for every position the model knows; the angle is a float32 product, as in the engine. */
  #rotaryTable(of: Environment, label: string, wave: (angle: number) => number): string {
    if (of.type !== 'rotaryCos' && of.type !== 'rotarySin') throw new RangeError(`${of.type} has no frequencies`)
    const { inverseFrequencies } = of.rope
    const positions = Math.min(maxPositions, countOf(this.#model.config, 'max_position_embeddings', 2048))
    const half = inverseFrequencies.length
    const name = `rotary_${label}_${[...this.#environments.keys()].filter((key) => key.includes(of.type)).length}`
    const table: WeightValues = {
      name,
      dims: [positions, half],
      async read() {
        const values = new Float32Array(positions * half)
        for (let t = 0; t < positions; t++) {
          for (let i = 0; i < half; i++) {
            values[t * half + i] = wave(Math.fround(t * Math.fround(inverseFrequencies[i]!)))
          }
        }
        return values
      },
    }
    const isHalf = this.#dtype === 'fp16'
    this.#precisions.set(isHalf ? `${name}:float16` : name, isHalf ? 'float16' : 'float32')
    return this.#constant(isHalf ? float16Constant(table) : float32Constant(table))
  }

  /** (B) int32: tokens of each row that are not padding, less one. */
  #lastPosition(): string {
    const [axis, one] = [this.#int64('mask_axis', [1]), this.#int64('one', [1])]
    this.#node('ReduceSum', ['attention_mask', axis], 'mask_sum', { keepdims: { int: 0 } })
    this.#node('Sub', ['mask_sum', one], 'mask_last')
    return this.#node('Cast', ['mask_last'], 'last_position', { to: { int: elementTypes.int32 } })
  }

  /** () int32: P + T. */
  #totalLength(): string {
    return this.#node('Cast', [this.#length('attention_mask', 'total')], 'total_length', {
      to: { int: elementTypes.int32 },
    })
  }

  /** (T) int64: the rows of a table of positions, those before in the cache. */
  #positionIndex(offset: number): string {
    const end = this.#node(
      'Add',
      [this.#length('attention_mask', 'end'), this.#scalar('position_offset', offset)],
      'position_end',
    )
    const start = this.#node('Sub', [end, this.#length('input_ids', 'new')], 'position_start')
    return this.#node('Range', [start, end, this.#scalar('position_step', 1)], 'position_index')
  }

  /** () int64: the second dimension of an input. */
  #length(input: string, label: string): string {
    this.#node('Shape', [input], `${label}_shape`)
    return this.#node('Gather', [`${label}_shape`, this.#scalar(`${label}_axis`, 1)], `${label}_size`)
  }

  #weightOf(stage: Stage, role: string): WeightValues {
    const place = findRole(stage.weights, role)
    if (place === undefined) throw new RangeError(`${stage.name}: has no weight "${role}"`)
    const { block } = stage
    const sizes =
      block === undefined ? this.#model.sizes : { ...this.#model.sizes, [unitOf(this.#model, block)]: block.units }
    const { name, axes, piece } = place
    const store = this.#model.weights
    if (piece === undefined) return { name, dims: shapeOf(axes, sizes), read: () => store.read(name) }
    return {
      name: `${name}:${role}`,
      dims: shapeOf(pieceAxes(axes, piece), sizes),
      read: async () => sliceTensor(await store.read(name), 1, shapeOf(axes, sizes), pieceRuns(axes, sizes, piece)),
    }
  }

  #constant(constant: OnnxConstant): string {
    if (!this.#constants.has(constant.name)) this.#constants.set(constant.name, constant)
    return constant.name
  }

  /** `value` in the precision asked for, cast once. */
  #as(value: string, precision: Precision): string {
    const found = this.#precisions.get(value) ?? precision
    if (found === precision) return value
    const key = `${value}/${precision}`
    const known = this.#casts.get(key)
    if (known !== undefined) return known
    this.#casts.set(key, this.#node('Cast', [value], key, { to: { int: elementTypes[precision] } }))
    this.#precisions.set(key, precision)
    return key
  }

  #node(
    type: string,
    inputs: readonly string[],
    output: string,
    attributes?: OnnxNode['attributes'],
    domain?: string,
  ): string {
    this.#nodes.push({ type, inputs, outputs: [output], ...(attributes && { attributes }), ...(domain && { domain }) })
    return output
  }

  #int64(name: string, values: readonly (number | bigint)[], dims: readonly number[] = [values.length]): string {
    if (this.#initializers.some((each) => each.name === name)) return name
    this.#initializers.push({
      name,
      type: 'int64',
      dims,
      data: new Uint8Array(BigInt64Array.from(values, BigInt).buffer),
    })
    return name
  }

  #scalar(name: string, value: number): string {
    return this.#int64(name, [value], [])
  }
}
