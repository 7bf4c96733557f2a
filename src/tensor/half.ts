/** Half-precision formats widened to float32, exactly, and rounded back. */

/** bfloat16 bits → float32 values. */
export function bfloat16ToFloat32(bits: Uint16Array, into = new Float32Array(bits.length)): Float32Array<ArrayBuffer> {
  const out = new Uint32Array(into.buffer, into.byteOffset, into.length)
  for (let i = 0; i < bits.length; i++) out[i] = bits[i]! << 16
  return into
}

let float16Table: Float32Array | undefined

/** IEEE half bits → float32 values, subnormals, infinities and NaN included. */
export function float16ToFloat32(bits: Uint16Array, out = new Float32Array(bits.length)): Float32Array<ArrayBuffer> {
  float16Table ??= Float32Array.from({ length: 65536 }, (_, h) => float16Value(h))
  for (let i = 0; i < bits.length; i++) out[i] = float16Table[bits[i]!]!
  return out
}

/** The value of one IEEE half. */
export function float16Value(bits: number): number {
  const sign = bits & 0x8000 ? -1 : 1
  const exponent = (bits >> 10) & 31
  const fraction = bits & 1023
  if (exponent === 31) return fraction === 0 ? sign * Number.POSITIVE_INFINITY : Number.NaN
  if (exponent === 0) return sign * fraction * 2 ** -24
  return sign * (1 + fraction / 1024) * 2 ** (exponent - 15)
}

/** float32 values → bfloat16 bits, to nearest, ties to even; NaN stays a NaN of the same sign. */
export function float32ToBfloat16(values: Float32Array): Uint16Array<ArrayBuffer> {
  const bits = bitsOf(values)
  const out = new Uint16Array(values.length)
  for (let i = 0; i < bits.length; i++) {
    const b = bits[i]!
    // the upper half of a NaN may be that of ∞: the quiet bit keeps it a NaN
    const isNotNumber = (b & 0x7fffffff) > 0x7f800000
    out[i] = isNotNumber ? (b >>> 16) | 0x40 : (b + 0x7fff + ((b >>> 16) & 1)) >>> 16
  }
  return out
}

/** float32 values → IEEE half bits, to nearest, ties to even; from 65520 on ∞, below 2⁻¹⁴ subnormal. */
export function float32ToFloat16(values: Float32Array): Uint16Array<ArrayBuffer> {
  const bits = bitsOf(values)
  const out = new Uint16Array(values.length)
  for (let i = 0; i < bits.length; i++) {
    const sign = (bits[i]! >>> 16) & 0x8000
    out[i] = sign | halfMagnitude(bits[i]! & 0x7fffffff)
  }
  return out
}

/** float32 bits without sign → half bits without sign. */
function halfMagnitude(magnitude: number): number {
  if (magnitude > 0x7f800000) return 0x7e00 | ((magnitude >>> 13) & 0x3ff)
  if (magnitude >= 0x477ff000) return 0x7c00 // 65520, half way between the largest half and 2¹⁶
  if (magnitude >= 0x38800000) {
    // 2⁻¹⁴: drop 13 bits of the fraction and move the exponent from bias 127 to 15; a carry moves into it as it should
    return (magnitude - 0x38000000 + 0xfff + ((magnitude >>> 13) & 1)) >>> 13
  }
  if (magnitude < 0x33000000) return 0 // below 2⁻²⁵, half of the smallest subnormal
  const shift = 126 - (magnitude >>> 23)
  const fraction = (magnitude & 0x7fffff) | 0x800000
  const floor = fraction >>> shift
  const rest = fraction - (floor << shift)
  const half = 1 << (shift - 1)
  return floor + (rest > half || (rest === half && (floor & 1) === 1) ? 1 : 0)
}

function bitsOf(values: Float32Array): Uint32Array {
  return new Uint32Array(values.buffer, values.byteOffset, values.length)
}
