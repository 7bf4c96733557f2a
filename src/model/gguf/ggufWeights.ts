import { CheckpointError, UnsupportedModelError } from '../../errors.ts'
import type { GgufFile } from '../../format/gguf/openGgufFile.ts'
import type { GgufTensor } from '../../format/gguf/readGgufHeader.ts'
import type { ModelConfig, TensorInfo, WeightStore } from '../../types.ts'
import type { GgufArchitecture, StoredForm, TensorRule } from './architecture.ts'

/** Where a Hugging Face tensor comes from. */
export interface GgufOrigin {
  readonly tensor: GgufTensor
  /** What the file does to it; absent: nothing. */
  readonly form?: StoredForm
}

/** Hugging Face name → tensor of the file. Throws `UnsupportedModelError` for a tensor the architecture does not name. */
export function ggufOrigins(file: GgufFile, architecture: GgufArchitecture): ReadonlyMap<string, GgufOrigin> {
  const origins = new Map<string, GgufOrigin>()
  const rules = new Map(architecture.tensors.map((rule) => [rule[0], rule]))
  for (const tensor of file.tensors.values()) {
    if (architecture.configTensors?.includes(tensor.name)) continue
    const named = huggingFaceName(tensor.name, rules)
    if (named === undefined) {
      throw new UnsupportedModelError(
        `${file.path}: has a tensor "${tensor.name}", expected only those of a dense "${architecture.name}" model; use the model's Hugging Face checkpoint`,
      )
    }
    // a bias has one dimension, so transposing it is not asked for
    const form = named.form === 'transposed' && tensor.shape.length < 2 ? undefined : named.form
    origins.set(named.name, { tensor, ...(form === undefined ? {} : { form }) })
  }
  return origins
}

function huggingFaceName(
  ggufName: string,
  rules: ReadonlyMap<string, TensorRule>,
): { readonly name: string; readonly form: StoredForm | undefined } | undefined {
  const parts = /^(?:blk\.(\d+)\.)?(.+)\.(weight|bias)$/.exec(ggufName)
  if (!parts) return undefined
  const [, layer, stem, suffix] = parts
  const rule = rules.get(layer === undefined ? `${stem}` : `blk.{layer}.${stem}`)
  return rule && { name: `${rule[1].replace('{layer}', layer ?? '')}.${suffix}`, form: rule[2] }
}

/**
 * A GGUF file as a store under Hugging Face names, shapes and orders: [out, in] (GPT-2's Conv1D [in, out]), query and key
 * rows back in the order Hugging Face rotates them, norms without the one that Gemma's converter adds. `readBytes` gives
 * F32, F16 and BF16 as stored, in that order; quantized tensors have only `read`. Norms whose one was taken away are F32.
 */
export function ggufWeights(
  file: GgufFile,
  origins: ReadonlyMap<string, GgufOrigin>,
  config: ModelConfig,
): WeightStore {
  const headDim = Number(config['head_dim'])
  const tensors = new Map<string, TensorInfo>()
  for (const [name, { tensor, form }] of origins) {
    tensors.set(name, {
      name,
      type: form === 'plusOne' ? 'F32' : tensor.type,
      shape: form === 'transposed' ? tensor.shape.toReversed() : tensor.shape,
    })
    if (form === 'transposed' && tensor.shape.length !== 2) {
      throw new CheckpointError(
        `${file.path}: tensor "${tensor.name}" has ${tensor.shape.length} dimensions, expected 2; is the file damaged?`,
      )
    }
    if (form === 'headPairs') checkRows(file, tensor, headDim)
  }

  const originOf = (name: string): GgufOrigin => {
    const origin = origins.get(name)
    if (origin === undefined) {
      throw new CheckpointError(
        `${file.path}: has no tensor for "${name}", expected one of its ${origins.size}; is it of another architecture?`,
      )
    }
    return origin
  }

  const read = async (name: string, into?: Float32Array<ArrayBuffer>): Promise<Float32Array<ArrayBuffer>> => {
    const { tensor, form } = originOf(name)
    const values = await file.readTensor(tensor.name, form === undefined ? into : undefined)
    if (form === undefined) return values
    if (form === 'plusOne') return values.map((value) => value - 1)
    if (form === 'transposed') return transposed(values, tensor)
    return splitPairs(values, tensor, headDim)
  }

  return {
    tensors,
    files: [file.path],
    read,
    async readBytes(name) {
      const { tensor, form } = originOf(name)
      if (form === 'plusOne') return new Uint8Array((await read(name)).buffer)
      if (tensor.type !== 'F32' && tensor.type !== 'F16' && tensor.type !== 'BF16') {
        throw new CheckpointError(
          `${file.path}: tensor "${tensor.name}" is stored as ${tensor.type}, expected F32, F16 or BF16 to read its bytes; read it widened to float32`,
        )
      }
      const bytes = await file.readTensorBytes(tensor.name)
      if (form === undefined) return bytes
      const elements = tensor.type === 'F32' ? new Uint32Array(bytes.buffer) : new Uint16Array(bytes.buffer)
      const moved = form === 'transposed' ? transposed(elements, tensor) : splitPairs(elements, tensor, headDim)
      return new Uint8Array(moved.buffer)
    },
    close: () => file.close(),
  }
}

function checkRows(file: GgufFile, tensor: GgufTensor, headDim: number): void {
  const rows = tensor.shape[0] ?? 0
  if (rows % headDim !== 0) {
    throw new CheckpointError(
      `${file.path}: tensor "${tensor.name}" has ${rows} rows, expected whole heads of ${headDim}; is the metadata damaged?`,
    )
  }
}

type Elements = Float32Array<ArrayBuffer> | Uint32Array<ArrayBuffer> | Uint16Array<ArrayBuffer>

/** [out, in] → [in, out]. */
function transposed<T extends Elements>(values: T, { shape }: GgufTensor): T {
  const [out = 1, inner = 1] = shape
  const result = values.slice() as T
  for (let o = 0; o < out; o++) for (let i = 0; i < inner; i++) result[i * out + o] = values[o * inner + i]!
  return result
}

/** Rows of each head 0, E/2, 1, E/2 + 1, … → 0, 1, 2, … */
function splitPairs<T extends Elements>(values: T, { shape }: GgufTensor, headDim: number): T {
  const rows = shape[0] ?? 1
  const rowLength = values.length / rows
  const result = values.slice() as T
  for (let row = 0; row < rows; row++) {
    const inHead = row % headDim
    const half = headDim / 2
    const stored = row - inHead + (inHead % half) * 2 + Math.floor(inHead / half)
    result.set(values.subarray(stored * rowLength, (stored + 1) * rowLength), row * rowLength)
  }
  return result
}
