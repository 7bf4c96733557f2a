import { elementTypes, type OnnxInitializer, type OnnxNode, type OnnxValue } from '../format/onnx/encode.ts'
import { float16Constant, float32Constant, type OnnxConstant, type WeightValues } from './onnxWeights.ts'

export type Precision = 'float32' | 'float16'

/** One ONNX graph, its weights not yet read. */
export interface OnnxGraph {
  readonly nodes: readonly OnnxNode[]
  /** Constants of some bytes. */
  readonly initializers: readonly OnnxInitializer[]
  /** Weights and tables, for files beside the model. */
  readonly constants: readonly OnnxConstant[]
  readonly inputs: readonly OnnxValue[]
  readonly outputs: readonly OnnxValue[]
}

/** A graph being written: every input, constant and cast once, by name, when it is first asked for. Methods return names. */
export class OnnxWriter {
  readonly #nodes: OnnxNode[] = []
  readonly #initializers = new Map<string, OnnxInitializer>()
  readonly #constants = new Map<string, OnnxConstant>()
  readonly #inputs = new Map<string, OnnxValue>()
  readonly #outputs: OnnxValue[] = []
  readonly #precisions = new Map<string, Precision>()
  readonly #written = new Map<string, string>()

  input(value: OnnxValue): string {
    this.#inputs.set(value.name, value)
    if (value.type === 'float32' || value.type === 'float16') this.#precisions.set(value.name, value.type)
    return value.name
  }

  /** Declares an output; some node must have it among its own. */
  output(value: OnnxValue): string {
    this.#outputs.push(value)
    return value.name
  }

  /** A node with one output of that name. */
  node(
    type: string,
    inputs: readonly string[],
    output: string,
    attributes?: OnnxNode['attributes'],
    domain?: string,
  ): string {
    this.add([{ type, inputs, outputs: [output], ...(attributes && { attributes }), ...(domain && { domain }) }])
    return output
  }

  add(nodes: readonly OnnxNode[], initializers: readonly OnnxInitializer[] = []): void {
    this.#nodes.push(...nodes)
    for (const initializer of initializers) this.#initializers.set(initializer.name, initializer)
  }

  /** What `write` returned the first time it was asked for under this key. */
  once(key: string, write: () => string): string {
    const name = this.#written.get(key) ?? write()
    this.#written.set(key, name)
    return name
  }

  constant(constant: OnnxConstant): string {
    if (!this.#constants.has(constant.name)) this.#constants.set(constant.name, constant)
    return constant.name
  }

  /** The values of a weight as a constant of that precision. */
  weight(values: WeightValues, precision: Precision): string {
    const name = this.constant(precision === 'float16' ? float16Constant(values) : float32Constant(values))
    this.#precisions.set(name, precision)
    return name
  }

  int64(name: string, values: readonly (number | bigint)[], dims: readonly number[] = [values.length]): string {
    const data = new Uint8Array(BigInt64Array.from(values, BigInt).buffer)
    this.#initializers.set(name, { name, type: 'int64', dims, data })
    return name
  }

  float32(name: string, values: readonly number[], dims: readonly number[] = [values.length]): string {
    const data = new Uint8Array(Float32Array.from(values).buffer)
    this.#initializers.set(name, { name, type: 'float32', dims, data })
    return name
  }

  /** The precision of a value; undefined for whole numbers and what was never said to have one. */
  precisionOf(value: string): Precision | undefined {
    return this.#precisions.get(value)
  }

  setPrecision(value: string, precision: Precision): void {
    this.#precisions.set(value, precision)
  }

  /** `value` in the precision asked for, cast once. */
  as(value: string, precision: Precision): string {
    if ((this.#precisions.get(value) ?? precision) === precision) return value
    return this.once(`${value}/${precision}`, () => {
      this.#precisions.set(`${value}/${precision}`, precision)
      return this.node('Cast', [value], `${value}/${precision}`, { to: { int: elementTypes[precision] } })
    })
  }

  finish(): OnnxGraph {
    return {
      nodes: this.#nodes,
      initializers: [...this.#initializers.values()],
      constants: [...this.#constants.values()],
      inputs: [...this.#inputs.values()],
      outputs: this.#outputs,
    }
  }
}
