import type { AgreementLimit } from './agreement.ts'

/** How the matrices of an export are stored, as far as agreement depends on it. */
export type StoredPrecision = 'F32' | 'F16' | 'BF16' | 'Q8_0' | 'Q4_0' | 'fp32' | 'fp16' | 'q8' | 'q4' | 'mixed'

/** What our own reader of an export must reach against our engine with the same weights: the same arithmetic in the same order. */
export const ownLimit: AgreementLimit = { topOne: 0.99, meanKl: 1e-4 }

/**
 * What other software must reach against our engine with the weights as they are stored (safetensors, GGUF), or against the plan
 * (ONNX, whose rounded weights our engine does not read).
 */
export const consumerLimits: Readonly<Record<StoredPrecision, AgreementLimit>> = {
  F32: { topOne: 0.99, meanKl: 1e-4 },
  fp32: { topOne: 0.99, meanKl: 1e-4 },
  F16: { topOne: 0.97, meanKl: 1e-3 },
  fp16: { topOne: 0.97, meanKl: 1e-3 },
  BF16: { topOne: 0.95, meanKl: 5e-3 },
  Q8_0: { topOne: 0.7, meanKl: 0.1 },
  q8: { topOne: 0.7, meanKl: 0.1 },
  Q4_0: { topOne: 0.3, meanKl: 1.5 },
  q4: { topOne: 0.3, meanKl: 1.5 },
  mixed: { topOne: 0.3, meanKl: 1.5 },
}

/** Bits to which the weights of a precision are rounded; undefined where types are mixed. */
export const bitsOf: Readonly<Record<StoredPrecision, number | undefined>> = {
  ...{ F32: 32, fp32: 32, F16: 16, fp16: 16, BF16: 16, Q8_0: 8, q8: 8, Q4_0: 4, q4: 4, mixed: undefined },
}
