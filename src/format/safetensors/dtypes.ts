import type { StoredType } from '../../types.ts'

/** The types of a safetensors file that the toolkit carries, which are the types it can also write. */
export type SafetensorsType = Extract<
  StoredType,
  'F64' | 'F32' | 'F16' | 'BF16' | 'I64' | 'I32' | 'I16' | 'I8' | 'U8' | 'BOOL'
>

/** Bytes of one element. */
export const bytesPerElement: Readonly<Record<SafetensorsType, number>> = {
  F64: 8,
  F32: 4,
  F16: 2,
  BF16: 2,
  I64: 8,
  I32: 4,
  I16: 2,
  I8: 1,
  U8: 1,
  BOOL: 1,
}

/** Whether `type` is one the toolkit carries; files may hold others (F8_E4M3, U32 …), which it can only name. */
export function isSafetensorsType(type: string): type is SafetensorsType {
  return Object.hasOwn(bytesPerElement, type)
}

/**
 * Bytes of a tensor, or undefined where they exceed the integers a float64 holds exactly (2⁵³ − 1): no file is as
 * large, and a product that rounds would let a wrong shape pass.
 */
export function sizeBytesOf(type: SafetensorsType, shape: readonly number[]): number | undefined {
  let bytes = bytesPerElement[type]
  for (const dimension of shape) {
    bytes *= dimension
    if (!Number.isSafeInteger(bytes)) return undefined
  }
  return bytes
}
