/**
 * ggml's block formats widened to float32, bit for bit what its reference C code computes (ggml-quants.c,
 * `dequantize_row_*`): every product of scale and code is exact in float32, so each value is rounded once, here as there.
 * Only the payload bits of a NaN may differ.
 *
 * A block packs 32 or 256 consecutive values of a row. `d` is its scale and `m` its minimum, IEEE halves, little-endian.
 */
import { bfloat16ToFloat32, float16ToFloat32, float16Value } from '../../tensor/half.ts'
import { type GgmlType, ggmlTypes } from './ggmlType.ts'

/** Fills `out` from its packed `bytes`: whole blocks, `bytes.length / blockBytes` of them. */
export function dequantize(type: GgmlType, bytes: Uint8Array<ArrayBuffer>, out: Float32Array): void {
  const { blockValues, blockBytes } = ggmlTypes[type]
  if (out.length % blockValues !== 0 || (out.length / blockValues) * blockBytes !== bytes.length) {
    throw new RangeError(`${bytes.length} bytes of ${type} do not fill ${out.length} values`)
  }
  unpackers[type](bytes, out)
}

type Unpack = (bytes: Uint8Array<ArrayBuffer>, out: Float32Array) => void

const unpackers: Readonly<Record<GgmlType, Unpack>> = {
  F32: (bytes, out) => new Uint8Array(out.buffer, out.byteOffset, out.byteLength).set(bytes),
  F16: (bytes, out) => out.set(float16ToFloat32(uint16Of(bytes))),
  BF16: (bytes, out) => out.set(bfloat16ToFloat32(uint16Of(bytes))),
  Q4_0: unpackQ4_0,
  Q4_1: unpackQ4_1,
  Q5_0: unpackQ5_0,
  Q5_1: unpackQ5_1,
  Q8_0: unpackQ8_0,
  Q4_K: unpackQ4_K,
  Q5_K: unpackQ5_K,
  Q6_K: unpackQ6_K,
}

function uint16Of(bytes: Uint8Array<ArrayBuffer>): Uint16Array {
  const aligned = bytes.byteOffset % 2 === 0 ? bytes : bytes.slice()
  return new Uint16Array(aligned.buffer, aligned.byteOffset, aligned.length / 2)
}

function halfAt(bytes: Uint8Array, at: number): number {
  return float16Value(bytes[at]! | (bytes[at + 1]! << 8))
}

function uint32At(bytes: Uint8Array, at: number): number {
  return bytes[at]! | (bytes[at + 1]! << 8) | (bytes[at + 2]! << 16) | (bytes[at + 3]! << 24)
}

/** d, 16 bytes of codes: value j in the low nibble of byte j, value j + 16 in the high one. y = d (q - 8). */
function unpackQ4_0(bytes: Uint8Array, out: Float32Array): void {
  for (let at = 0, y = 0; at < bytes.length; at += 18, y += 32) {
    const d = halfAt(bytes, at)
    for (let j = 0; j < 16; j++) {
      const code = bytes[at + 2 + j]!
      out[y + j] = d * ((code & 15) - 8)
      out[y + 16 + j] = d * ((code >> 4) - 8)
    }
  }
}

/** d, m, codes as in Q4_0. y = d q + m. */
function unpackQ4_1(bytes: Uint8Array, out: Float32Array): void {
  for (let at = 0, y = 0; at < bytes.length; at += 20, y += 32) {
    const d = halfAt(bytes, at)
    const m = halfAt(bytes, at + 2)
    for (let j = 0; j < 16; j++) {
      const code = bytes[at + 4 + j]!
      out[y + j] = d * (code & 15) + m
      out[y + 16 + j] = d * (code >> 4) + m
    }
  }
}

/** d, 32 bits holding the fifth bit of value j at bit j, low nibbles as in Q4_0. y = d (q - 16). */
function unpackQ5_0(bytes: Uint8Array, out: Float32Array): void {
  for (let at = 0, y = 0; at < bytes.length; at += 22, y += 32) {
    const d = halfAt(bytes, at)
    const high = uint32At(bytes, at + 2)
    for (let j = 0; j < 16; j++) {
      const code = bytes[at + 6 + j]!
      out[y + j] = d * (((code & 15) | (((high >>> j) & 1) << 4)) - 16)
      out[y + 16 + j] = d * (((code >> 4) | (((high >>> (j + 16)) & 1) << 4)) - 16)
    }
  }
}

/** d, m, fifth bits and nibbles as in Q5_0. y = d q + m. */
function unpackQ5_1(bytes: Uint8Array, out: Float32Array): void {
  for (let at = 0, y = 0; at < bytes.length; at += 24, y += 32) {
    const d = halfAt(bytes, at)
    const m = halfAt(bytes, at + 2)
    const high = uint32At(bytes, at + 4)
    for (let j = 0; j < 16; j++) {
      const code = bytes[at + 8 + j]!
      out[y + j] = d * ((code & 15) | (((high >>> j) & 1) << 4)) + m
      out[y + 16 + j] = d * ((code >> 4) | (((high >>> (j + 16)) & 1) << 4)) + m
    }
  }
}

/** d, 32 signed bytes. y = d q. */
function unpackQ8_0(bytes: Uint8Array, out: Float32Array): void {
  for (let at = 0, y = 0; at < bytes.length; at += 34, y += 32) {
    const d = halfAt(bytes, at)
    for (let j = 0; j < 32; j++) out[y + j] = d * ((bytes[at + 2 + j]! << 24) >> 24)
  }
}

/**
 * The six-bit scale and minimum of sub-block `i`, 0..7, out of 12 bytes at `at`: those of 0..3 are the low six bits of
 * bytes 0..3 and 4..7; those of 4..7 have their low nibbles in bytes 8..11 and their top two bits above the former.
 */
function subScale(bytes: Uint8Array, at: number, i: number): number {
  return i < 4 ? bytes[at + i]! & 63 : (bytes[at + i + 4]! & 15) | ((bytes[at + i - 4]! >> 6) << 4)
}

function subMinimum(bytes: Uint8Array, at: number, i: number): number {
  return i < 4 ? bytes[at + i + 4]! & 63 : (bytes[at + i + 4]! >> 4) | ((bytes[at + i]! >> 6) << 4)
}

/**
 * d, dmin, 12 bytes of sub-block scales and minima, 128 bytes of codes. Eight sub-blocks of 32 values: 32 bytes hold
 * sub-block 2i in their low nibbles and 2i + 1 in their high ones. y = d scale q - dmin minimum.
 */
function unpackQ4_K(bytes: Uint8Array, out: Float32Array): void {
  for (let at = 0, y = 0; at < bytes.length; at += 144, y += 256) {
    const d = halfAt(bytes, at)
    const dmin = halfAt(bytes, at + 2)
    for (let i = 0; i < 8; i++) {
      const scale = d * subScale(bytes, at + 4, i)
      const minimum = dmin * subMinimum(bytes, at + 4, i)
      const codes = at + 16 + (i >> 1) * 32
      const shift = (i & 1) * 4
      for (let j = 0; j < 32; j++) out[y + i * 32 + j] = scale * ((bytes[codes + j]! >> shift) & 15) - minimum
    }
  }
}

/** As Q4_K, with 32 bytes before the codes: bit i of byte j is the fifth bit of value j of sub-block i. */
function unpackQ5_K(bytes: Uint8Array, out: Float32Array): void {
  for (let at = 0, y = 0; at < bytes.length; at += 176, y += 256) {
    const d = halfAt(bytes, at)
    const dmin = halfAt(bytes, at + 2)
    for (let i = 0; i < 8; i++) {
      const scale = d * subScale(bytes, at + 4, i)
      const minimum = dmin * subMinimum(bytes, at + 4, i)
      const high = at + 16
      const codes = at + 48 + (i >> 1) * 32
      const shift = (i & 1) * 4
      for (let j = 0; j < 32; j++) {
        const code = ((bytes[codes + j]! >> shift) & 15) | (((bytes[high + j]! >> i) & 1) << 4)
        out[y + i * 32 + j] = scale * code - minimum
      }
    }
  }
}

/**
 * 128 bytes of low nibbles, 64 bytes of high bit pairs, 16 signed bytes of scales (one for each 16 values), d.
 * Each half of 128 values is four runs of 32: run r has its nibbles in bytes (r & 1) · 32 … of its 64 (low nibbles for
 * r < 2, high ones else) and its bit pairs at bit 2r of its 32 bytes. y = d scale (q - 32).
 */
function unpackQ6_K(bytes: Uint8Array, out: Float32Array): void {
  for (let at = 0, y = 0; at < bytes.length; at += 210, y += 256) {
    const d = halfAt(bytes, at + 208)
    for (let run = 0; run < 8; run++) {
      const half = run >> 2
      const r = run & 3
      const low = at + half * 64 + (r & 1) * 32
      const lowShift = (r >> 1) * 4
      const high = at + 128 + half * 32
      for (let j = 0; j < 32; j++) {
        const scale = d * ((bytes[at + 192 + run * 2 + (j >> 4)]! << 24) >> 24)
        const code = ((bytes[low + j]! >> lowShift) & 15) | (((bytes[high + j]! >> (2 * r)) & 3) << 4)
        out[y + run * 32 + j] = scale * (code - 32)
      }
    }
  }
}
