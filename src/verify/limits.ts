import type { AgreementLimit } from './agreement.ts'

/** How the matrices of an export are stored, as far as agreement depends on it. */
export type StoredPrecision = 'F32' | 'F16' | 'BF16' | 'Q8_0' | 'Q4_0' | 'fp32' | 'fp16' | 'q8' | 'q4' | 'mixed'

/** What our own reader of an export must reach against our engine with the same weights. Measured: 100 %, 0 nats, every format. */
export const ownLimit: AgreementLimit = { topOne: 0.99, meanKl: 1e-9 }

/** What the plan, on whatever device it was evaluated, must reach against the processor with the same weights; devices are held to 1e-3. */
export const deviceLimit: AgreementLimit = { topOne: 0.97, meanKl: 1e-3 }

/**
 * What other software must reach against our engine with the weights as they are stored (safetensors, GGUF), or against the plan
 * (ONNX, whose rounded weights our engine does not read): three times the farthest that was measured, which stands behind, in top-1
 * missed and nats, over the plans of test/models/verifyExports.test.ts and SmolLM2-135M without every third mlp, whose predictions are
 * flat. That the weights are the plan's is known before: what is left are the order of sums, and inputs of products that llama.cpp and
 * MatMulNBits round too (llama.cpp to BF16, F16 or 8 bits with weights of that type or of fewer bits).
 */
export const consumerLimits: Readonly<Record<StoredPrecision, AgreementLimit>> = {
  F32: { topOne: 0.99, meanKl: 1e-9 }, // 0 %, 2.3e-10
  F16: { topOne: 0.99, meanKl: 1e-4 }, // 0 %, 3.3e-5
  BF16: { topOne: 0.81, meanKl: 7e-3 }, // 6.2 %, 2.3e-3
  Q8_0: { topOne: 0.44, meanKl: 0.2 }, // 18.7 %, 6.5e-2
  Q4_0: { topOne: 0.62, meanKl: 0.12 }, // 12.5 %, 3.8e-2
  mixed: { topOne: 0.44, meanKl: 0.2 }, // the inputs of its products are rounded as those of Q8_0
  fp32: { topOne: 0.99, meanKl: 1e-9 }, // 0 %, 3.1e-10
  fp16: { topOne: 0.95, meanKl: 2.6e-4 }, // 1.6 %, 8.6e-5
  q8: { topOne: 0.39, meanKl: 0.23 }, // 20.3 %, 7.5e-2
  // says little where predictions are flat: that graph and weights are the plan's, byte for byte, says the rest
  q4: { topOne: 0, meanKl: 5.4 }, // 85.9 %, 1.8
}

/** Bits to which the weights of a precision are rounded; undefined where types are mixed. */
export const bitsOf: Readonly<Record<StoredPrecision, number | undefined>> = {
  ...{ F32: 32, fp32: 32, F16: 16, fp16: 16, BF16: 16, Q8_0: 8, q8: 8, Q4_0: 4, q4: 4, mixed: undefined },
}
