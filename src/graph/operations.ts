import type { BackwardAttributes } from './backwardOperations.ts'
import type { Dims } from './dimensions.ts'

/**
 * The closed set of operations our graphs are made of. Each has one rule for the shape of its result (`shapes.ts`) and one
 * lowering to ONNX (`toOnnx.ts`), and one for its gradient or a reason for having none (`gradientRules.ts`): a graph written with these
 * can be checked, run, exported and differentiated.
 */
export interface OperationAttributes extends BackwardAttributes {
  /** x (…,I), w (O,I), bias? (O) → x wᵀ + bias (…,O); `inputFirst`: w is stored (I,O), as GPT-2's Conv1D does. */
  linear: { readonly inputFirst?: boolean }
  /** Batched product over the last two axes, others broadcast. */
  matmul: Record<never, never>
  add: Record<never, never>
  mul: Record<never, never>
  div: Record<never, never>
  /** x (…,D), scale (D) → x / sqrt(mean(x²) + ε) · scale */
  rmsNorm: { readonly epsilon: number }
  /** x (…,D), scale (D), bias? (D) → (x - mean(x)) / sqrt(var(x) + ε) · scale + bias */
  layerNorm: { readonly epsilon: number }
  /** w (V,D) → √(Σ w²) of each row, at least 1e-12: (V) */
  rowLength: Record<never, never>
  /** x · sigmoid(x) */
  silu: Record<never, never>
  /** x · Φ(x), Φ by the error function */
  gelu: Record<never, never>
  /** x · ½ (1 + tanh(√(2/π) (x + 0.044715 x³))) */
  geluTanh: Record<never, never>
  /** x · sigmoid(1.702 x) */
  quickGelu: Record<never, never>
  relu: Record<never, never>
  /** max(x, 0)² */
  squaredRelu: Record<never, never>
  tanh: Record<never, never>
  /** table (V,D), ids (…) → (…,D) */
  embedding: Record<never, never>
  /** ids (B,T) → (B,T) int64: `offset` + how many of the ids before are not `uncounted`; `offset` - 1 for an `uncounted` one. */
  countPositions: { readonly offset: number; readonly uncounted: number }
  /** Copies a dimension where the shape says 0, infers the one that says -1. */
  reshape: { readonly shape: readonly number[] }
  transpose: { readonly order: readonly number[] }
  /** Elements `start` to `end` along `axis`. */
  slice: { readonly axis: number; readonly start: number; readonly end: number }
  concat: { readonly axis: number }
  /** Entries `index` (N) of x along `axis`: (…,A,…) → (…,N,…) */
  gather: { readonly axis: number }
  scale: { readonly by: number }
  /** The nearest bfloat16, as float32. For numbers that the family fixes: nothing is learned through it. */
  roundToBfloat16: Record<never, never>
  /** x + `by` */
  shift: { readonly by: number }
  /** Over the last axis. */
  softmax: Record<never, never>
  /** log Σ exp over the last axis, which goes; summed in plain float32. */
  logSumExp: Record<never, never>
  /**
   * Logits z (N,V), index (N) or (N,W) → z[n, index] - log Σ exp z[n], shaped as index: within 2e-6 of float64 up to 16 nats, whatever
   * V is. `vocabulary` is V.
   */
  logProbability: { readonly vocabulary: number }
  /**
   * z and z' (N,V) → (N), in float64: with p and q their softmax and m = (p + q) / 2, ½ (KL(p‖m) + KL(q‖m)), the same reversed,
   * ½ (KL(m‖p) + KL(m‖q)), KL(p‖q); 1 - cos(z, z') and |z - z'|² of the logits themselves.
   */
  outputDistance: { readonly measure: 'js' | 'reversedJs' | 'kl' | 'oneMinusCosine' | 'squaredDifference' }
  /** x (N,V), index (N) → x[n, index[n]] (N) */
  pick: Record<never, never>
  /** x (N,V), W (1) → where the W largest of each row are (N,W), as float32, exact to 2²⁴. For choosing words: nothing is learned through it. */
  largest: Record<never, never>
  /**
   * q (B,T,K·G·E), k and v (B,T,K·E), last (B), length (), cos? and sin? (T,R/2) → (B,T,K·G·E): causal attention in one
   * kernel, q and k rotated in their first R channels where cos and sin are given. The inference form of what
   * `attention.ts` also says in primitives.
   */
  groupQueryAttention: {
    readonly heads: number
    readonly kvHeads: number
    readonly scale: number
    readonly window: number | undefined
    /** Scores s become c · tanh(s / c). */
    readonly softcap: number | undefined
  }
  /**
   * q (B,T,H·E), k and v (B,S,H·E), padding? (B,S) int32, bias? (1,H,T,S) → (B,T,H·E): attention with as many key/value heads
   * as query heads in one kernel, no later key seen where it is `causal`; `padded` and `biased` say which inputs are there.
   */
  multiHeadAttention: {
    readonly heads: number
    readonly scale: number
    readonly causal: boolean
    readonly padded: boolean
    readonly biased: boolean
  }
}

export type Operation = keyof OperationAttributes

export type ElementType = 'float32' | 'int32' | 'int64'

/** A tensor of a graph. */
export interface Value {
  readonly name: string
  readonly type: ElementType
  readonly dims: Dims
}

export type Node = {
  [Op in Operation]: {
    readonly op: Op
    readonly inputs: readonly Value[]
    readonly output: Value
    readonly attributes: OperationAttributes[Op]
  }
}[Operation]
