/** Metadata values of GGUF, under the type names of its specification (ggml-org/ggml, docs/gguf.md). */

export type GgufNumberType = 'uint8' | 'int8' | 'uint16' | 'int16' | 'uint32' | 'int32' | 'float32' | 'float64'

export type GgufElementType = GgufNumberType | 'uint64' | 'int64' | 'bool' | 'string'

/** The index of a name is the number that stands for it in a file. */
export const ggufValueTypes = [
  'uint8',
  'int8',
  'uint16',
  'int16',
  'uint32',
  'int32',
  'float32',
  'bool',
  'string',
  'array',
  'uint64',
  'int64',
  'float64',
] as const

export type GgufNumbers =
  | Uint8Array
  | Int8Array
  | Uint16Array
  | Int16Array
  | Uint32Array
  | Int32Array
  | Float32Array
  | Float64Array
  | BigUint64Array
  | BigInt64Array

export type GgufValue =
  | { readonly type: GgufNumberType; readonly value: number }
  | { readonly type: 'uint64' | 'int64'; readonly value: bigint }
  | { readonly type: 'bool'; readonly value: boolean }
  | { readonly type: 'string'; readonly value: string }
  | { readonly type: 'array'; readonly elementType: 'string'; readonly value: readonly string[] }
  | { readonly type: 'array'; readonly elementType: Exclude<GgufElementType, 'string'>; readonly value: GgufNumbers }

/** One metadata entry and where its bytes lie: the type number and the value, without the key. */
export interface GgufMetadata {
  readonly value: GgufValue
  readonly position: number
  readonly byteLength: number
}
