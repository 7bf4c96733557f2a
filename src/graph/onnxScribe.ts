import type { OnnxInitializer, OnnxNode } from '../format/onnx/encode.ts'

/** Writes the nodes and constants of one operation, each under a name of its own. */
export interface OnnxScribe {
  readonly nodes: readonly OnnxNode[]
  readonly initializers: readonly OnnxInitializer[]
  /** Adds a node and returns what it gives, under `name` where that is asked for. */
  node(type: string, inputs: readonly string[], attributes?: OnnxNode['attributes'], name?: string): string
  /** Adds whole numbers (N) and returns their name. */
  int64(...values: number[]): string
  /** Adds a number () and returns its name. */
  float32(value: number): string
}

/** For the operation whose result is called `output`. */
export function newScribe(output: string): OnnxScribe {
  const nodes: OnnxNode[] = []
  const initializers: OnnxInitializer[] = []
  const constant = (type: 'int64' | 'float32', dims: readonly number[], { buffer }: BigInt64Array | Float32Array) => {
    const name = `${output}_constant_${initializers.length}`
    initializers.push({ name, type, dims, data: new Uint8Array(buffer) })
    return name
  }
  return {
    nodes,
    initializers,
    node(type, inputs, attributes = {}, name = `${output}_${nodes.length}`) {
      const domain = type.startsWith('Fused') ? { domain: 'com.microsoft' } : {}
      nodes.push({ type, inputs, outputs: [name], attributes, ...domain })
      return name
    },
    int64: (...values) => constant('int64', [values.length], BigInt64Array.from(values, BigInt)),
    float32: (value) => constant('float32', [], Float32Array.of(value)),
  }
}
