/**
 * Tensor types of GGUF that this package reads, and how ggml packs their values: blocks of `blockValues` consecutive
 * values of one row, `blockBytes` bytes each.
 *
 * Ids and sizes: ggml.h and ggml-common.h of ggml-org/llama.cpp.
 */
export const ggmlTypes = {
  F32: { id: 0, blockValues: 1, blockBytes: 4 },
  F16: { id: 1, blockValues: 1, blockBytes: 2 },
  BF16: { id: 30, blockValues: 1, blockBytes: 2 },
  Q4_0: { id: 2, blockValues: 32, blockBytes: 18 },
  Q4_1: { id: 3, blockValues: 32, blockBytes: 20 },
  Q5_0: { id: 6, blockValues: 32, blockBytes: 22 },
  Q5_1: { id: 7, blockValues: 32, blockBytes: 24 },
  Q8_0: { id: 8, blockValues: 32, blockBytes: 34 },
  Q4_K: { id: 12, blockValues: 256, blockBytes: 144 },
  Q5_K: { id: 13, blockValues: 256, blockBytes: 176 },
  Q6_K: { id: 14, blockValues: 256, blockBytes: 210 },
} as const

export type GgmlType = keyof typeof ggmlTypes

export const ggmlTypeNames = Object.keys(ggmlTypes) as readonly GgmlType[]

const typesById: ReadonlyMap<number, GgmlType> = new Map(ggmlTypeNames.map((name) => [ggmlTypes[name].id, name]))

/** The type stored under `id`; undefined for one this package does not read. */
export function ggmlTypeOf(id: number): GgmlType | undefined {
  return typesById.get(id)
}

const unreadNames: Readonly<Record<number, string>> = {
  9: 'Q8_1',
  10: 'Q2_K',
  11: 'Q3_K',
  15: 'Q8_K',
  16: 'IQ2_XXS',
  17: 'IQ2_XS',
  18: 'IQ3_XXS',
  19: 'IQ1_S',
  20: 'IQ4_NL',
  21: 'IQ3_S',
  22: 'IQ2_S',
  23: 'IQ4_XS',
  24: 'I8',
  25: 'I16',
  26: 'I32',
  27: 'I64',
  28: 'F64',
  29: 'IQ1_M',
  34: 'TQ1_0',
  35: 'TQ2_0',
  39: 'MXFP4',
  40: 'NVFP4',
}

/** How ggml calls `id`, for messages. */
export function ggmlTypeLabel(id: number): string {
  return ggmlTypeOf(id) ?? unreadNames[id] ?? `number ${id}`
}
