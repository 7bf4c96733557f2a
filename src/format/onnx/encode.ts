import { onnxSchema } from './schema.ts'

/** Element types of ONNX tensors, by their number in TensorProto.DataType. */
export const elementTypes = {
  float32: 1,
  uint8: 2,
  int8: 3,
  int32: 6,
  int64: 7,
  bool: 9,
  float16: 10,
  float64: 11,
  bfloat16: 16,
} as const

export type OnnxElementType = keyof typeof elementTypes

export type OnnxAttribute =
  | { readonly int: number }
  | { readonly ints: readonly number[] }
  | { readonly float: number }
  | { readonly string: string }

export interface OnnxNode {
  readonly type: string
  /** Empty for the standard operators. */
  readonly domain?: string
  /** An empty string stands for an optional input left out. */
  readonly inputs: readonly string[]
  readonly outputs: readonly string[]
  readonly attributes?: Readonly<Record<string, OnnxAttribute>>
}

export interface OnnxValue {
  readonly name: string
  readonly type: OnnxElementType
  readonly dims: readonly (string | number)[]
}

/** A constant, its bytes inside the model or in a file beside it. */
export interface OnnxInitializer {
  readonly name: string
  readonly type: OnnxElementType
  readonly dims: readonly number[]
  readonly data: Uint8Array | { readonly file: string; readonly offset: number; readonly length: number }
}

export interface OnnxModel {
  readonly name: string
  readonly nodes: readonly OnnxNode[]
  readonly initializers: readonly OnnxInitializer[]
  readonly inputs: readonly OnnxValue[]
  readonly outputs: readonly OnnxValue[]
  /** Domain → version; the standard operators are the empty domain. */
  readonly opsets: Readonly<Record<string, number>>
  /** Names and texts about the model. */
  readonly metadata?: readonly (readonly [key: string, value: string])[]
}

/** The bytes of an .onnx file. */
export function encodeOnnx(model: OnnxModel): Uint8Array {
  const type = onnxSchema.lookupType('ModelProto')
  return type
    .encode({
      irVersion: 10,
      producerName: 'blockpruner',
      opsetImport: Object.entries(model.opsets).map(([domain, version]) => ({ domain, version })),
      graph: {
        name: model.name,
        node: model.nodes.map(nodeOf),
        initializer: model.initializers.map(initializerOf),
        input: model.inputs.map(valueInfoOf),
        output: model.outputs.map(valueInfoOf),
      },
      metadataProps: (model.metadata ?? []).map(([key, value]) => ({ key, value })),
    })
    .finish()
}

function nodeOf({ type, domain, inputs, outputs, attributes = {} }: OnnxNode) {
  return {
    opType: type,
    name: outputs[0],
    ...(domain !== undefined && { domain }),
    input: inputs,
    output: outputs,
    attribute: Object.entries(attributes).map(([name, value]) => ({ name, ...attributeOf(value) })),
  }
}

// the numbers of AttributeProto.AttributeType
function attributeOf(value: OnnxAttribute) {
  if ('float' in value) return { type: 1, f: value.float }
  if ('int' in value) return { type: 2, i: value.int }
  if ('string' in value) return { type: 3, s: new TextEncoder().encode(value.string) }
  return { type: 7, ints: value.ints }
}

function initializerOf({ name, type, dims, data }: OnnxInitializer) {
  const tensor = { name, dims, dataType: elementTypes[type] }
  if (data instanceof Uint8Array) return { ...tensor, rawData: data }
  const entries = { location: data.file, offset: String(data.offset), length: String(data.length) }
  return {
    ...tensor,
    dataLocation: 1,
    externalData: Object.entries(entries).map(([key, value]) => ({ key, value })),
  }
}

function valueInfoOf({ name, type, dims }: OnnxValue) {
  const dim = dims.map((size) => (typeof size === 'number' ? { dimValue: size } : { dimParam: size }))
  return { name, type: { tensorType: { elemType: elementTypes[type], shape: { dim } } } }
}
