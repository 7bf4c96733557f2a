import { CheckpointError } from '../errors.ts'
import { largestHalf } from '../format/gguf/writeQuantized.ts'
import type { OnnxElementType } from '../format/onnx/encode.ts'
import { float32ToFloat16 } from '../tensor/half.ts'

/** A constant of a graph: described beforehand, its bytes made when their turn comes. */
export interface OnnxConstant {
  readonly name: string
  readonly type: OnnxElementType
  readonly dims: readonly number[]
  /** Little-endian, row-major, in pieces of any size. Called once. */
  data(): AsyncIterable<Uint8Array>
}

/** A weight to be encoded: its values are read once, however many constants they become. */
export interface WeightValues {
  readonly name: string
  /** (O,I), or (I,O) where `inputFirst`. */
  readonly dims: readonly number[]
  read(): Promise<Float32Array>
}

export function float32Constant({ name, dims, read }: WeightValues): OnnxConstant {
  return { name, type: 'float32', dims, data: whole(async () => bytesOf(await read())) }
}

/** Throws `CheckpointError` for a value that a half does not hold. */
export function float16Constant({ name, dims, read }: WeightValues): OnnxConstant {
  return {
    name: `${name}:float16`,
    type: 'float16',
    dims,
    async *data() {
      const values = await read()
      const outside = values.find((value) => !(Math.abs(value) <= largestHalf))
      if (outside !== undefined) {
        throw new CheckpointError(
          `${name}: holds ${outside}, a half holds at most ${largestHalf}; export fp32, q8 or q4`,
        )
      }
      for (let i = 0; i < values.length; i += pieceValues) {
        yield bytesOf(float32ToFloat16(values.subarray(i, i + pieceValues)))
      }
    },
  }
}

/** Values converted at a time, so that a large table is not held twice. */
const pieceValues = 2 ** 20

/** The pieces of a constant that is made at once. */
function whole(make: () => Promise<Uint8Array>): () => AsyncIterable<Uint8Array> {
  return async function* () {
    yield await make()
  }
}

/** Input channels that share a scale and a zero point. */
export const blockChannels = 32

/**
 * w (O,I) for onnxruntime's MatMulNBits: codes (O, ⌈I/32⌉, 4·bits), scales (O·⌈I/32⌉) and, with 4 bits, zero points
 * (O·⌈⌈I/32⌉/2⌉); w ≈ scale (code - zero point). 4 bits span from the least to the largest value of a block, zero among
 * them; 8 bits are symmetric around the code 128. Codes of 4 bits lie two in a byte, the first in the low half; a last
 * block is filled up with zeros.
 */
export function blockConstants(weight: WeightValues, inputFirst: boolean, bits: 4 | 8): OnnxConstant[] {
  const [outputs, inputs] = outputFirstDims(weight, inputFirst)
  const blocks = Math.ceil(inputs / blockChannels)
  const encode = bits === 4 ? encodeFourBits : encodeEightBits
  const encoded = once(async () => encode(await outputFirst(weight, inputFirst), outputs, inputs, blocks))
  const scales: OnnxConstant = {
    name: `${weight.name}:${bits}bit_scale`,
    type: 'float32',
    dims: [outputs * blocks],
    data: whole(async () => bytesOf((bits === 4 ? await encoded.first() : await encoded.last()).scales)),
  }
  const codes: OnnxConstant = {
    name: `${weight.name}:${bits}bit`,
    type: 'uint8',
    dims: [outputs, blocks, (blockChannels * bits) / 8],
    data: whole(async () => (await encoded.first()).codes),
  }
  if (bits === 8) return [codes, scales]
  const zeros: OnnxConstant = {
    name: `${weight.name}:${bits}bit_zero`,
    type: 'uint8',
    dims: [outputs * Math.ceil(blocks / 2)],
    data: whole(async () => (await encoded.last()).zeros),
  }
  return [codes, scales, zeros]
}

interface EncodedBlocks {
  readonly codes: Uint8Array
  readonly scales: Float32Array
  readonly zeros: Uint8Array
}

function encodeFourBits(values: Float32Array, outputs: number, inputs: number, blocks: number): EncodedBlocks {
  const codes = new Uint8Array(outputs * blocks * (blockChannels / 2))
  const scales = new Float32Array(outputs * blocks)
  const zeros = new Uint8Array(outputs * Math.ceil(blocks / 2))
  const put = (bytes: Uint8Array, at: number, index: number, code: number): void => {
    bytes[at + (index >> 1)]! |= index & 1 ? code << 4 : code
  }
  for (let o = 0; o < outputs; o++) {
    for (let b = 0; b < blocks; b++) {
      const start = o * inputs + b * blockChannels
      const length = Math.min(blockChannels, inputs - b * blockChannels)
      let [least, largest] = [0, 0]
      for (let i = start; i < start + length; i++) {
        least = Math.min(least, values[i]!)
        largest = Math.max(largest, values[i]!)
      }
      const scale = Math.fround((largest - least) / 15) || 1
      const zero = Math.round(-least / scale)
      scales[o * blocks + b] = scale
      put(zeros, o * Math.ceil(blocks / 2), b, zero)
      for (let i = 0; i < blockChannels; i++) {
        const code = i < length ? Math.max(0, Math.min(15, Math.round(values[start + i]! / scale) + zero)) : zero
        put(codes, (o * blocks + b) * (blockChannels / 2), i, code)
      }
    }
  }
  return { codes, scales, zeros }
}

function encodeEightBits(values: Float32Array, outputs: number, inputs: number, blocks: number): EncodedBlocks {
  const codes = new Uint8Array(outputs * blocks * blockChannels).fill(128)
  const scales = new Float32Array(outputs * blocks)
  for (let o = 0; o < outputs; o++) {
    for (let b = 0; b < blocks; b++) {
      const start = o * inputs + b * blockChannels
      const length = Math.min(blockChannels, inputs - b * blockChannels)
      let largest = 0
      for (let i = start; i < start + length; i++) largest = Math.max(largest, Math.abs(values[i]!))
      const block = o * blocks + b
      const scale = Math.fround(largest / 127) || 1
      scales[block] = scale
      for (let i = 0; i < length; i++) codes[block * blockChannels + i] = Math.round(values[start + i]! / scale) + 128
    }
  }
  return { codes, scales, zeros: new Uint8Array(0) }
}

/** 8 bits for a table whose rows are looked up: (V,D) → codes (V,D), scales (V,1) and zero points (V,1). */
export function tableConstants(
  table: WeightValues,
): [codes: OnnxConstant, scales: OnnxConstant, zeroPoints: OnnxConstant] {
  const [rows, width] = table.dims as [number, number]
  const encoded = once(async () => encodeRows(await table.read(), rows, width))
  return [
    {
      name: `${table.name}:8bit_rows`,
      type: 'uint8',
      dims: [rows, width],
      data: whole(async () => (await encoded.first()).codes),
    },
    {
      name: `${table.name}:8bit_rows_scale`,
      type: 'float32',
      dims: [rows, 1],
      data: whole(async () => bytesOf((await encoded.first()).scales)),
    },
    {
      name: `${table.name}:8bit_rows_zero`,
      type: 'uint8',
      dims: [rows, 1],
      data: whole(async () => (await encoded.last()).zeroPoints),
    },
  ]
}

function encodeRows(values: Float32Array, rows: number, width: number) {
  const codes = new Uint8Array(rows * width)
  const scales = new Float32Array(rows)
  const zeroPoints = new Uint8Array(rows)
  for (let row = 0; row < rows; row++) {
    // zero is in the range, so that it has a code of its own
    let [least, largest] = [0, 0]
    for (let i = row * width; i < (row + 1) * width; i++) {
      least = Math.min(least, values[i]!)
      largest = Math.max(largest, values[i]!)
    }
    const scale = Math.fround((largest - least) / 255) || 1
    const zero = Math.round(-least / scale)
    scales[row] = scale
    zeroPoints[row] = zero
    for (let i = row * width; i < (row + 1) * width; i++) {
      codes[i] = Math.max(0, Math.min(255, Math.round(values[i]! / scale) + zero))
    }
  }
  return { codes, scales, zeroPoints }
}

function outputFirstDims({ dims }: WeightValues, inputFirst: boolean): [outputs: number, inputs: number] {
  const [first, second] = dims as [number, number]
  return inputFirst ? [second, first] : [first, second]
}

async function outputFirst(weight: WeightValues, inputFirst: boolean): Promise<Float32Array> {
  const values = await weight.read()
  if (!inputFirst) return values
  const [inputs, outputs] = weight.dims as [number, number]
  return transposed(values, inputs, outputs)
}

/** (rows, columns) → (columns, rows) */
function transposed(values: Float32Array, rows: number, columns: number): Float32Array {
  const result = new Float32Array(values.length)
  for (let r = 0; r < rows; r++) for (let c = 0; c < columns; c++) result[c * rows + r] = values[r * columns + c]!
  return result
}

/** Makes a value for several readers one after the other and lets it go with the last. */
interface Once<Value> {
  first(): Promise<Value>
  last(): Promise<Value>
}

function once<Value>(make: () => Promise<Value>): Once<Value> {
  let made: Promise<Value> | undefined
  return {
    first() {
      made ??= make()
      return made
    },
    last() {
      const value = made ?? make()
      made = undefined
      return value
    },
  }
}

function bytesOf({ buffer, byteOffset, byteLength }: Float32Array | Uint16Array): Uint8Array {
  return new Uint8Array(buffer, byteOffset, byteLength)
}
