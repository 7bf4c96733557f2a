import { CheckpointError } from '../errors.ts'
import { largestHalf } from '../format/gguf/writeQuantized.ts'
import type { OnnxElementType } from '../format/onnx/encode.ts'
import { float32ToFloat16 } from '../tensor/half.ts'

/** A constant of a graph: described beforehand, its bytes made when their turn comes. */
export interface OnnxConstant {
  readonly name: string
  readonly type: OnnxElementType
  readonly dims: readonly number[]
  /** Little-endian, row-major. Called once. */
  data(): Promise<Uint8Array>
}

/** A weight to be encoded: its values are read once, however many constants they become. */
export interface WeightValues {
  readonly name: string
  /** (O,I), or (I,O) where `inputFirst`. */
  readonly dims: readonly number[]
  read(): Promise<Float32Array>
}

export function float32Constant({ name, dims, read }: WeightValues): OnnxConstant {
  return { name, type: 'float32', dims, data: async () => bytesOf(await read()) }
}

/** Throws `CheckpointError` for a value that a half does not hold. */
export function float16Constant({ name, dims, read }: WeightValues): OnnxConstant {
  return {
    name: `${name}:float16`,
    type: 'float16',
    dims,
    async data() {
      const values = await read()
      const outside = values.find((value) => !(Math.abs(value) <= largestHalf))
      if (outside !== undefined) {
        throw new CheckpointError(
          `${name}: holds ${outside}, a half holds at most ${largestHalf}; export fp32, q8 or q4`,
        )
      }
      return bytesOf(float32ToFloat16(values))
    },
  }
}

/** Input channels that share a scale in `q4`. */
export const q4BlockSize = 32

/**
 * 4 bits for onnxruntime's MatMulNBits: w (O,I) → codes (O, ⌈I/32⌉, 16) and scales (O·⌈I/32⌉), w ≈ scale (code - 8). The scale is
 * the value of largest size / -8, so that it is hit exactly. Two codes a byte, the first in the low half; a last block is
 * filled up with zeros.
 */
export function q4Constants(weight: WeightValues, inputFirst: boolean): [codes: OnnxConstant, scales: OnnxConstant] {
  const [outputs, inputs] = outputFirstDims(weight, inputFirst)
  const blocks = Math.ceil(inputs / q4BlockSize)
  const encoded = once(async () => encodeQ4(await outputFirst(weight, inputFirst), outputs, inputs, blocks))
  return [
    {
      name: `${weight.name}:q4`,
      type: 'uint8',
      dims: [outputs, blocks, q4BlockSize / 2],
      data: async () => (await encoded.first()).codes,
    },
    {
      name: `${weight.name}:q4_scale`,
      type: 'float32',
      dims: [outputs * blocks],
      data: async () => bytesOf((await encoded.last()).scales),
    },
  ]
}

function encodeQ4(values: Float32Array, outputs: number, inputs: number, blocks: number) {
  const codes = new Uint8Array(outputs * blocks * (q4BlockSize / 2)).fill(0x88)
  const scales = new Float32Array(outputs * blocks)
  for (let o = 0; o < outputs; o++) {
    for (let b = 0; b < blocks; b++) {
      const start = o * inputs + b * q4BlockSize
      const length = Math.min(q4BlockSize, inputs - b * q4BlockSize)
      let extreme = 0
      for (let i = 0; i < length; i++) {
        if (Math.abs(values[start + i]!) > Math.abs(extreme)) extreme = values[start + i]!
      }
      const block = o * blocks + b
      const scale = Math.fround(extreme / -8)
      scales[block] = scale
      if (scale === 0) continue
      for (let i = 0; i < length; i++) {
        const code = Math.max(0, Math.min(15, Math.round(values[start + i]! / scale) + 8))
        const at = block * (q4BlockSize / 2) + (i >> 1)
        codes[at] = i & 1 ? (codes[at]! & 0x0f) | (code << 4) : (codes[at]! & 0xf0) | code
      }
    }
  }
  return { codes, scales }
}

/** Codes, scale and zero point: w ≈ scale (code - zero point). */
export type Q8Constants = readonly [codes: OnnxConstant, scales: OnnxConstant, zeroPoints: OnnxConstant]

/**
 * 8 bits for onnxruntime's DynamicQuantizeMatMul: w → codes (I,O), scale (O) and zero point (O), the whole range of each
 * output channel. Unsigned, since signed weights of full range overflow in 16 bits on processors without VNNI.
 */
export function q8Constants(weight: WeightValues, inputFirst: boolean): Q8Constants {
  const [outputs, inputs] = outputFirstDims(weight, inputFirst)
  const encoded = once(async () => {
    const rows = encodeRows(await outputFirst(weight, inputFirst), outputs, inputs)
    return { ...rows, codes: transposed(rows.codes, outputs, inputs) }
  })
  return q8ConstantsOf(weight.name, 'q8', [inputs, outputs], outputs, encoded)
}

/** 8 bits for a table whose rows are looked up: (V,D) → codes (V,D), scale (V,1) and zero point (V,1). */
export function q8TableConstants(table: WeightValues): Q8Constants {
  const [rows, width] = table.dims as [number, number]
  const encoded = once(async () => encodeRows(await table.read(), rows, width))
  const [codes, scales, zeroPoints] = q8ConstantsOf(table.name, 'q8_rows', [rows, width], rows, encoded)
  return [codes, { ...scales, dims: [rows, 1] }, { ...zeroPoints, dims: [rows, 1] }]
}

type EncodedRows = ReturnType<typeof encodeRows>

function q8ConstantsOf(
  name: string,
  suffix: string,
  dims: readonly number[],
  channels: number,
  encoded: Once<EncodedRows>,
): Q8Constants {
  return [
    { name: `${name}:${suffix}`, type: 'uint8', dims, data: async () => (await encoded.first()).codes },
    {
      name: `${name}:${suffix}_scale`,
      type: 'float32',
      dims: [channels],
      data: async () => bytesOf((await encoded.first()).scales),
    },
    {
      name: `${name}:${suffix}_zero`,
      type: 'uint8',
      dims: [channels],
      data: async () => (await encoded.last()).zeroPoints,
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
function transposed<Values extends Float32Array | Uint8Array>(values: Values, rows: number, columns: number): Values {
  const result = (
    values instanceof Uint8Array ? new Uint8Array(values.length) : new Float32Array(values.length)
  ) as Values
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
