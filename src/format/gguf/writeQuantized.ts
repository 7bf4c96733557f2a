/**
 * float32 packed into ggml's block formats, bit for bit what its reference C code makes (ggml-quants.c,
 * `quantize_row_*_ref`) as gguf-py repeats it. The float32 steps of the originals are kept, because a rounding elsewhere
 * would move codes that lie between two values.
 */
import { float16Value, float32ToBfloat16, float32ToFloat16 } from '../../tensor/half.ts'
import { type GgmlType, ggmlTypes } from './ggmlType.ts'

/** Types this package writes from values; others are only copied. */
export const encodableTypes = ['F32', 'F16', 'BF16', 'Q8_0', 'Q4_0'] as const

export type EncodableType = (typeof encodableTypes)[number]

export function isEncodable(type: GgmlType): type is EncodableType {
  return (encodableTypes as readonly string[]).includes(type)
}

/** The packed bytes of `values`, whole blocks of `type`. The caller owns them. */
export function quantize(type: EncodableType, values: Float32Array): Uint8Array<ArrayBuffer> {
  const { blockValues } = ggmlTypes[type]
  if (values.length % blockValues !== 0) {
    throw new RangeError(
      `${values.length} values are no whole blocks of ${type}, expected a multiple of ${blockValues}`,
    )
  }
  return packers[type](values)
}

const packers: Readonly<Record<EncodableType, (values: Float32Array) => Uint8Array<ArrayBuffer>>> = {
  F32: (values) => new Uint8Array(values.slice().buffer),
  F16: (values) => new Uint8Array(float32ToFloat16(values).buffer),
  BF16: (values) => new Uint8Array(float32ToBfloat16(values).buffer),
  Q8_0: packQ8_0,
  Q4_0: packQ4_0,
}

const half = new Float32Array(1)

function putHalf(bytes: Uint8Array, at: number, value: number): void {
  half[0] = value
  const bits = float32ToFloat16(half)[0]!
  bytes[at] = bits & 255
  bytes[at + 1] = bits >> 8
}

/** d = max |x| / 127, q = round(x / d), halves away from zero: d and 32 signed bytes. */
function packQ8_0(values: Float32Array): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array((values.length / 32) * 34)
  for (let x = 0, at = 0; x < values.length; x += 32, at += 34) {
    let largest = 0
    for (let j = 0; j < 32; j++) largest = Math.max(largest, Math.abs(values[x + j]!))
    const d = Math.fround(largest / 127)
    const inverse = d === 0 ? 0 : Math.fround(1 / d)
    putHalf(bytes, at, d)
    for (let j = 0; j < 32; j++) {
      const scaled = Math.fround(values[x + j]! * inverse)
      bytes[at + 2 + j] = scaled < 0 ? -Math.floor(0.5 - scaled) : Math.floor(scaled + 0.5)
    }
  }
  return bytes
}

/**
 * d = m / -8 with m the value of largest size, q = ⌊x / d + 8.5⌋, at most 15: d and 16 bytes, value j in the low and j + 16
 * in the high nibble of byte j.
 */
function packQ4_0(values: Float32Array): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array((values.length / 32) * 18)
  for (let x = 0, at = 0; x < values.length; x += 32, at += 18) {
    let extreme = 0
    for (let j = 0; j < 32; j++) {
      if (Math.abs(values[x + j]!) > Math.abs(extreme)) extreme = values[x + j]!
    }
    const d = Math.fround(extreme / -8)
    const inverse = d === 0 ? 0 : Math.fround(1 / d)
    putHalf(bytes, at, d)
    const code = (value: number): number => Math.min(15, Math.trunc(Math.fround(Math.fround(value * inverse) + 8.5)))
    for (let j = 0; j < 16; j++) bytes[at + 2 + j] = code(values[x + j]!) | (code(values[x + 16 + j]!) << 4)
  }
  return bytes
}

/** The largest half: beyond it F16 and the scales of the quantised types are infinite. */
export const largestHalf = float16Value(0x7bff)
