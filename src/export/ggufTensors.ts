import { CheckpointError } from '../errors.ts'
import { dequantize } from '../format/gguf/dequantize.ts'
import { type GgmlType, ggmlTypes } from '../format/gguf/ggmlType.ts'
import type { GgufTensorSource } from '../format/gguf/writeGguf.ts'
import { type EncodableType, isEncodable, largestHalf, quantize } from '../format/gguf/writeQuantized.ts'
import { lengthOf, type Runs, sliceTensor } from '../model/axes.ts'
import type { GgufModel } from '../model/gguf/open.ts'
import type { Model } from '../model/model.ts'

/** Values converted at a time. */
const chunkValues = 2 ** 20

/**
 * Which channels of a head are neighbours: `halves` as at Hugging Face, where rotary embedding turns channel i with i + E/2;
 * `pairs` as llama.cpp's Llama has them, where it turns 2i with 2i + 1.
 */
export type HeadOrder = 'halves' | 'pairs'

/** A tensor of the dense model, what stays of it, and how the file wants it. */
export interface TensorRequest {
  /** In the file. */
  readonly name: string
  /** At Hugging Face. */
  readonly from: string
  /** What stays of each dimension; undefined: everything. */
  readonly runs?: readonly Runs[] | undefined
  /** Of query and key weights and biases: the order of their rows, of heads of `headDim`. */
  readonly order?: HeadOrder | undefined
  readonly headDim: number
  /** Undefined: as it is stored, where that can be kept. */
  readonly type: EncodableType | undefined
}

/** Packed rows as they are stored, in the order that is stored too. */
interface StoredTensor {
  readonly type: GgmlType
  readonly shape: readonly number[]
  readonly order: HeadOrder
  bytes(): Promise<Uint8Array<ArrayBuffer>>
}

/** The tensors of an export, read from `model` and, where it was a GGUF file, from `file` as they are packed there. */
export function ggufTensors(model: Model, file: GgufModel | undefined) {
  return (request: TensorRequest): GgufTensorSource => {
    const stored = storedTensor(model, file, request.from)
    const shape = request.runs === undefined ? stored.shape : request.runs.map(lengthOf)
    const type = typeInFile(request, stored, shape)
    return {
      name: request.name,
      type,
      shape,
      async *data() {
        const cut = await cutTensor(request, stored)
        const rows = orderRows(request, stored.order, cut)
        if (cut.type === type) yield rows
        else yield* converted(request.from, cut.type, rows, type)
      },
    }
  }
}

/** Zeros or ones that stand where the file format wants a tensor. */
export function constantTensor(name: string, shape: readonly number[], value: 0 | 1): GgufTensorSource {
  const elements = shape.reduce((product, size) => product * size, 1)
  const type: EncodableType = shape.length > 1 ? 'F16' : 'F32'
  return { name, type, shape, data: () => [quantize(type, new Float32Array(elements).fill(value))] }
}

/** Numbers that are in no checkpoint, such as a bias that a plan adds. */
export function vectorTensor(
  name: string,
  length: number,
  read: () => Promise<Float32Array<ArrayBuffer>>,
): GgufTensorSource {
  return {
    name,
    type: 'F32',
    shape: [length],
    async *data() {
      yield new Uint8Array((await read()).buffer)
    },
  }
}

function storedTensor(model: Model, file: GgufModel | undefined, name: string): StoredTensor {
  const info = model.weights.tensors.get(name)
  if (info === undefined)
    throw new CheckpointError(`${model.id}: tensor "${name}" is missing; is config.json from another model?`)
  const { shape, type } = info
  const origin = file?.origins.get(name)
  // a model that was pruned before has other shapes than its file
  const isWhole = origin !== undefined && origin.tensor.shape.join() === shape.join()
  if (file !== undefined && isWhole && origin.form !== 'plusOne' && origin.form !== 'transposed') {
    const order = origin.form === undefined ? 'halves' : 'pairs'
    return { type: origin.tensor.type, shape, order, bytes: () => file.file.readTensorBytes(origin.tensor.name) }
  }
  if (type === 'F32' || type === 'F16' || type === 'BF16') {
    return { type, shape, order: 'halves', bytes: () => model.weights.readBytes(name) }
  }
  const read = async () => new Uint8Array((await model.weights.read(name)).buffer)
  return { type: 'F32', shape, order: 'halves', bytes: read }
}

/**
 * One-dimensional tensors are F32, as llama.cpp's operations on them want. Quantised types need rows of whole blocks: where
 * a width does not divide, F16 as in llama.cpp's own quantisation.
 */
function typeInFile(request: TensorRequest, stored: StoredTensor, shape: readonly number[]): GgmlType {
  if (shape.length < 2) return 'F32'
  const kept = cutsWholeBlocks(request, stored) || isEncodable(stored.type) ? stored.type : 'Q8_0'
  const wanted = request.type ?? kept
  return shape.at(-1)! % ggmlTypes[wanted].blockValues === 0 ? wanted : 'F16'
}

/** Whether the cut goes between packed blocks, so that bytes can be copied. */
function cutsWholeBlocks({ runs }: TensorRequest, { type }: StoredTensor): boolean {
  const { blockValues } = ggmlTypes[type]
  return (runs?.at(-1) ?? []).every(([start, length]) => start % blockValues === 0 && length % blockValues === 0)
}

async function cutTensor(
  request: TensorRequest,
  stored: StoredTensor,
): Promise<{ type: GgmlType; shape: readonly number[]; bytes: Uint8Array<ArrayBuffer> }> {
  const { type, shape } = stored
  const bytes = await stored.bytes()
  const { runs } = request
  if (runs === undefined) return { type, shape, bytes }
  const cutShape = runs.map(lengthOf)
  const { blockValues, blockBytes } = ggmlTypes[type]
  if (cutsWholeBlocks(request, stored)) {
    const inBlocks = (sizes: readonly number[]) => [...sizes.slice(0, -1), sizes.at(-1)! / blockValues]
    const last = runs.at(-1)!.map(([start, length]) => [start / blockValues, length / blockValues] as const)
    return {
      type,
      shape: cutShape,
      bytes: sliceTensor(bytes, blockBytes, inBlocks(shape), [...runs.slice(0, -1), last]),
    }
  }
  const values = new Float32Array(shape.reduce((product, size) => product * size, 1))
  dequantize(type, bytes, values)
  return { type: 'F32', shape: cutShape, bytes: new Uint8Array(sliceTensor(values, 1, shape, runs).buffer) }
}

/** Rows of each head from the order they are stored in to the one the file wants. */
function orderRows(
  { order, headDim }: TensorRequest,
  found: HeadOrder,
  { shape, bytes }: { shape: readonly number[]; bytes: Uint8Array<ArrayBuffer> },
): Uint8Array<ArrayBuffer> {
  if (order === undefined || order === found) return bytes
  const rows = shape[0]!
  const rowBytes = bytes.length / rows
  const ordered = new Uint8Array(bytes.length)
  const half = headDim / 2
  for (let row = 0; row < rows; row++) {
    const head = Math.floor(row / headDim) * headDim
    const i = row - head
    // row of the result → row it comes from: pairs (2j, 2j + 1) are (j, j + E/2) of halves
    const source = order === 'pairs' ? (i >> 1) + (i & 1) * half : i < half ? 2 * i : 2 * (i - half) + 1
    ordered.set(bytes.subarray((head + source) * rowBytes, (head + source + 1) * rowBytes), row * rowBytes)
  }
  return ordered
}

function* converted(name: string, from: GgmlType, bytes: Uint8Array<ArrayBuffer>, to: GgmlType): Generator<Uint8Array> {
  if (!isEncodable(to)) throw new RangeError(`${to} cannot be written from values`)
  const { blockValues, blockBytes } = ggmlTypes[from]
  // both kinds of blocks, 32 and 256, divide the chunk
  const chunkBytes = (chunkValues / blockValues) * blockBytes
  for (let start = 0; start < bytes.length; start += chunkBytes) {
    const part = bytes.subarray(start, start + chunkBytes)
    const values = new Float32Array((part.length / blockBytes) * blockValues)
    dequantize(from, part, values)
    checkRange(name, values, to)
    yield quantize(to, values)
  }
}

function checkRange(name: string, values: Float32Array, type: EncodableType): void {
  const limit = type === 'F16' ? largestHalf : Number.MAX_VALUE
  const outside = values.find((value) => !(Math.abs(value) <= limit))
  if (outside !== undefined) {
    throw new CheckpointError(
      `${name}: holds ${outside}, ${type} holds at most ${type === 'F16' ? limit : 'finite numbers'}; ${Number.isFinite(outside) ? 'export as BF16 or F32' : 'the checkpoint is damaged'}`,
    )
  }
}
