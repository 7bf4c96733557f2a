/** Half-precision formats widened to float32, exactly, and rounded back. */

/** bfloat16 bits → float32 values. */
export function bfloat16ToFloat32(bits: Uint16Array): Float32Array<ArrayBuffer> {
  const out = new Uint32Array(bits.length)
  for (let i = 0; i < bits.length; i++) out[i] = bits[i]! << 16
  return new Float32Array(out.buffer)
}

let float16Table: Float32Array | undefined

/** IEEE half bits → float32 values, subnormals, infinities and NaN included. */
export function float16ToFloat32(bits: Uint16Array): Float32Array<ArrayBuffer> {
  float16Table ??= Float32Array.from({ length: 65536 }, (_, h) => float16Value(h))
  const out = new Float32Array(bits.length)
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
