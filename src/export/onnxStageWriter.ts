import type { OnnxNode } from '../format/onnx/encode.ts'
import type { CachePart, Graph, GraphInput, InputSource } from '../graph/graph.ts'
import type { Node } from '../graph/operations.ts'
import type { Stage } from '../graph/program.ts'
import { lowerNode } from '../graph/toOnnx.ts'
import { originalUnits } from '../model/applyPlan.ts'
import { findRole, keptRuns, lengthOf, pieceAxes, pieceRuns, shapeOf, sliceTensor } from '../model/axes.ts'
import type { Model } from '../model/model.ts'
import { blockSizes, stackSizes } from '../model/plan.ts'
import type { KeyValueCaches } from './onnxCaches.ts'
import type { ModelInputs } from './onnxModelInputs.ts'
import { type OnnxDtype, writeEmbedding, writeLinear } from './onnxProducts.ts'
import type { WeightValues } from './onnxWeights.ts'
import type { OnnxWriter, Precision } from './onnxWriter.ts'

/** Name of the stage that makes logits of the final states. */
export const headStage = 'head'

/** Tables of words and positions; those of other roles are small, and kept as they are. */
const wordTables = ['embedTokens', 'embedPositions']

/** Go on in the precision they are handed: their results are no larger than their inputs, or stay small enough for a half. */
const staysHalf = [
  ...['silu', 'gelu', 'geluTanh', 'quickGelu', 'relu', 'tanh'],
  ...['mul', 'reshape', 'transpose', 'slice', 'concat'],
]

type FixedNumbers = Extract<InputSource, { from: 'constant' }>

/** Where the stages of a model are written one after the other: names made unique by the stage's, weights as constants. */
export class StageWriter {
  readonly writer: OnnxWriter
  readonly #model: Model
  readonly #dtype: OnnxDtype
  readonly #modelInputs: ModelInputs
  readonly #caches: KeyValueCaches | undefined
  readonly #states = new Map<string, string>()

  constructor(
    writer: OnnxWriter,
    model: Model,
    dtype: OnnxDtype,
    modelInputs: ModelInputs,
    caches: KeyValueCaches | undefined,
  ) {
    this.writer = writer
    this.#model = model
    this.#dtype = dtype
    this.#modelInputs = modelInputs
    this.#caches = caches
  }

  state(name: string): string {
    const value = this.#states.get(name)
    if (value === undefined) throw new RangeError(`state ${name} is read before it is written`)
    return value
  }

  setState(name: string, value: string): void {
    this.#states.set(name, value)
  }

  /** Writes stages, of whose states those that none of them reads are left out. */
  run(stages: readonly Stage[]): void {
    for (const stage of stages) {
      const graph = graphOf(stage)
      if (stage.writes.endsWith('positionBias') && !stages.some((other) => readsState(other, stage.writes))) continue
      const written = graph === 'copy' ? this.state(stage.reads['hidden'] ?? 'hidden') : this.place(stage, graph)
      this.setState(stage.writes, written)
    }
  }

  /** Writes the nodes of a stage and returns the value that is its output. */
  place(stage: Stage, graph: Graph): string {
    const names = new Map<string, string>()
    const weights = new Map<string, WeightValues>()
    const isFused = graph.nodes.some(({ op }) => op === 'groupQueryAttention')
    for (const input of graph.inputs) {
      const { source, value } = input
      if (source.from === 'weight') weights.set(value.name, this.#weightOf(stage, source.role))
      else names.set(value.name, this.#inputOf(stage, input, isFused))
    }
    const cached = new Map(graph.outputs.flatMap(({ value, cache }) => (cache ? [[value.name, cache]] : [])))
    for (const node of graph.nodes) {
      names.set(node.output.name, this.#placeNode(stage, node, names, weights, cached.get(node.output.name)))
    }
    const output = names.get(graph.outputs[0]!.value.name)
    if (output === undefined) throw new RangeError(`${stage.name}: its graph has no output`)
    return output
  }

  #placeNode(
    stage: Stage,
    node: Node,
    names: ReadonlyMap<string, string>,
    weights: ReadonlyMap<string, WeightValues>,
    cached: CachePart | undefined,
  ): string {
    const output =
      cached === undefined ? `${stage.name}/${node.output.name}` : this.#cachesOf(stage).present(stage.block!, cached)
    const roleOf = (position: number) => node.inputs[position]?.name ?? ''
    const matrix = weights.get(roleOf(1))
    if (node.op === 'linear' && matrix !== undefined) {
      const linear = {
        x: names.get(roleOf(0))!,
        matrix,
        bias: weights.get(roleOf(2)),
        inputFirst: node.attributes.inputFirst === true,
        isHead: stage.name === headStage,
      }
      return writeLinear(this.writer, this.#dtype, linear, output)
    }
    const table = weights.get(roleOf(0))
    if (node.op === 'embedding' && table !== undefined && wordTables.includes(roleOf(0))) {
      return writeEmbedding(this.writer, this.#dtype, table, names.get(roleOf(1))!, output)
    }
    const precision = this.#precisionOf(node, names, cached !== undefined)
    const inputs = node.inputs.map(({ name }) => {
      const own = weights.get(name)
      return own === undefined ? this.writer.as(names.get(name)!, precision) : this.writer.weight(own, precision)
    })
    const lowered = lowerNode(node, { inputs, output })
    const nodes = lowered.nodes.map((each) => (node.op === 'groupQueryAttention' ? this.#withCache(stage, each) : each))
    this.writer.add(nodes, lowered.initializers)
    this.writer.setPrecision(output, precision)
    return output
  }

  /** Products with weights, the fused attention and caches are halves in fp16; everything that sums is float32. */
  #precisionOf(node: Node, names: ReadonlyMap<string, string>, isCached: boolean): Precision {
    if (this.#dtype !== 'fp16') return 'float32'
    if (isCached || node.op === 'groupQueryAttention') return 'float16'
    const isHalf = ({ name }: { name: string }) => this.writer.precisionOf(names.get(name) ?? '') === 'float16'
    return staysHalf.includes(node.op) && node.inputs.every(isHalf) ? 'float16' : 'float32'
  }

  /** The same attention with the keys and values of earlier calls before its own. */
  #withCache(stage: Stage, node: OnnxNode): OnnxNode {
    const [caches, block] = [this.#cachesOf(stage), stage.block!]
    const inputs = [...node.inputs]
    inputs[3] = caches.past(block, 'key')
    inputs[4] = caches.past(block, 'value')
    return {
      ...node,
      inputs,
      outputs: [node.outputs[0]!, caches.present(block, 'key'), caches.present(block, 'value')],
    }
  }

  #cachesOf({ name, block }: Stage): KeyValueCaches {
    if (this.#caches === undefined || block === undefined) throw new RangeError(`${name}: has no place in a cache`)
    return this.#caches
  }

  #inputOf(stage: Stage, input: GraphInput, isFused: boolean): string {
    const { source } = input
    switch (source.from) {
      case 'state':
        return this.state(stage.reads[source.name] ?? source.name)
      case 'environment':
        return this.#modelInputs.environment(source.of, isFused)
      case 'data':
        return this.#modelInputs.data(source.name)
      case 'cache':
        return this.#cachesOf(stage).past(stage.block!, source.part)
      case 'constant':
        return this.#constantOf(stage, input, source)
      case 'weight':
        throw new RangeError(`${stage.name}: ${source.role} is a constant of the graph`)
      case 'gate':
      case 'gradient':
        throw new RangeError(`${stage.name}: an exported graph has no ${source.from}`)
    }
  }

  /** Numbers that the family fixes, of the units that are left. */
  #constantOf({ name, block }: Stage, { value }: GraphInput, { axes, values }: FixedNumbers): string {
    const sizes = block === undefined ? this.#model.sizes : stackSizes(this.#model, block.stack)
    const shape = shapeOf(axes, sizes)
    const runs = block && keptRuns(axes, sizes, block.table.unit, originalUnits(this.#model, block))
    const whole = Float32Array.from(values)
    const kept = runs === undefined ? whole : sliceTensor(whole, 1, shape, runs)
    const dims = runs === undefined ? shape : runs.map(lengthOf)
    return this.writer[value.type === 'int64' ? 'int64' : 'float32'](`${name}/${value.name}`, [...kept], dims)
  }

  #weightOf(stage: Stage, role: string): WeightValues {
    const place = findRole(stage.weights, role)
    if (place === undefined) throw new RangeError(`${stage.name}: has no weight "${role}"`)
    const { block } = stage
    const sizes = block === undefined ? this.#model.sizes : blockSizes(this.#model, block)
    const { name, axes, piece } = place
    const store = this.#model.weights
    if (piece === undefined) return { name, dims: shapeOf(axes, sizes), read: () => store.read(name) }
    return {
      name: `${name}:${role}`,
      dims: shapeOf(pieceAxes(axes, piece), sizes),
      read: async () => sliceTensor(await store.read(name), 1, shapeOf(axes, sizes), pieceRuns(axes, sizes, piece)),
    }
  }
}

const graphOf = (stage: Stage): Graph | 'copy' => stage.graph(stage.block?.units ?? 0)

function readsState(stage: Stage, state: string): boolean {
  const graph = graphOf(stage)
  return (
    graph !== 'copy' &&
    graph.inputs.some(({ source }) => source.from === 'state' && (stage.reads[source.name] ?? source.name) === state)
  )
}
