/**
 * The closed set of operations our graphs are made of. Each has one lowering to ONNX (`toOnnx.ts`); backward rules are
 * one per operation as well, so a graph written with these can be run, exported and differentiated.
 */
export interface OperationAttributes {
  /** x (…,I), w (O,I), bias? (O) → x wᵀ + bias (…,O) */
  linear: Record<never, never>
  /** Batched product over the last two axes, others broadcast. */
  matmul: Record<never, never>
  add: Record<never, never>
  mul: Record<never, never>
  /** x (…,D), scale (D) → x / sqrt(mean(x²) + ε) · scale */
  rmsNorm: { readonly epsilon: number }
  /** x · sigmoid(x) */
  silu: Record<never, never>
  /** table (V,D), ids (…) → (…,D) */
  embedding: Record<never, never>
  /** Copies a dimension where the shape says 0, infers the one that says -1. */
  reshape: { readonly shape: readonly number[] }
  transpose: { readonly order: readonly number[] }
  /** Elements `start` to `end` along `axis`. */
  slice: { readonly axis: number; readonly start: number; readonly end: number }
  concat: { readonly axis: number }
  scale: { readonly by: number }
  /** Over the last axis. */
  softmax: Record<never, never>
  /** Over the last axis. */
  logSoftmax: Record<never, never>
  /** x (N,V), index (N) → x[n, index[n]] (N) */
  pick: Record<never, never>
  /**
   * q (B,T,K·G·E), k and v (B,T,K·E), last (B), length (), cos and sin (T,E/2) → (B,T,K·G·E): causal attention with rotary
   * positions in one kernel. The inference form of what `attention.ts` also says in primitives.
   */
  groupQueryAttention: {
    readonly heads: number
    readonly kvHeads: number
    readonly scale: number
    readonly window: number | undefined
  }
}

export type Operation = keyof OperationAttributes

/** A tensor of a graph, by name. */
export interface Value {
  readonly name: string
}

export type Node = {
  [Op in Operation]: {
    readonly op: Op
    readonly inputs: readonly Value[]
    readonly output: Value
    readonly attributes: OperationAttributes[Op]
  }
}[Operation]
