import { CheckpointError } from '../../errors.ts'
import { onnxSchema } from './schema.ts'

/** What a model file says of itself, its graph as names and counts. */
export interface OnnxDescription {
  readonly producer: string
  readonly graphName: string
  readonly metadata: ReadonlyMap<string, string>
  /** Name → dimensions, names of those that are free. */
  readonly inputs: ReadonlyMap<string, readonly (number | string)[]>
  /** Name → dimensions of each constant. */
  readonly initializers: ReadonlyMap<string, readonly number[]>
  /** Operators that the graph uses. */
  readonly operators: ReadonlySet<string>
}

interface DecodedModel {
  readonly producerName: string
  readonly metadataProps: readonly { readonly key: string; readonly value: string }[]
  readonly graph?: {
    readonly name: string
    readonly node: readonly { readonly opType: string }[]
    readonly initializer: readonly { readonly name: string; readonly dims: readonly number[] }[]
    readonly input: readonly {
      readonly name: string
      readonly type?: {
        readonly tensorType?: {
          readonly shape?: { readonly dim?: readonly { readonly dimValue?: number; readonly dimParam?: string }[] }
        }
      }
    }[]
  }
}

/** Reads the bytes of an .onnx file, called `path` in errors. Throws `CheckpointError` for anything else. */
export function decodeOnnx(bytes: Uint8Array, path: string): OnnxDescription {
  const type = onnxSchema.lookupType('ModelProto')
  let model: DecodedModel
  try {
    model = type.toObject(type.decode(bytes), { longs: Number, arrays: true, defaults: false }) as DecodedModel
  } catch (cause) {
    throw new CheckpointError(`${path}: is no ONNX model (${(cause as Error).message}); is the file whole?`, { cause })
  }
  const { graph } = model
  if (graph === undefined)
    throw new CheckpointError(`${path}: has no graph, expected an ONNX model; is the file whole?`)
  return {
    producer: model.producerName ?? '',
    graphName: graph.name ?? '',
    metadata: new Map(model.metadataProps.map(({ key, value }) => [key, value])),
    inputs: new Map(
      graph.input.map(({ name, type: of }) => [
        name,
        (of?.tensorType?.shape?.dim ?? []).map(({ dimValue, dimParam }) => dimParam ?? dimValue ?? 0),
      ]),
    ),
    initializers: new Map(graph.initializer.map(({ name, dims }) => [name, dims])),
    operators: new Set(graph.node.map(({ opType }) => opType)),
  }
}
