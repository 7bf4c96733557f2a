/** The mathematics of each part of a model as plain data; `graph/` turns a form into operations. */

export interface NormForm {
  readonly type: 'rms'
  readonly epsilon: number
}

/** Rotary position embedding, resolved: scaling is already inside the frequencies. */
export interface RopeForm {
  /** One angle per pair of channels and position: E/2 values, radians per token. */
  readonly inverseFrequencies: readonly number[]
}

/** y = x + o(softmax(q kᵀ · scale + mask) v), q, k, v from norm(x). */
export interface AttentionForm {
  readonly norm: NormForm
  readonly rope: RopeForm
  readonly headDim: number
  /** Query heads per key/value head, G. */
  readonly groupSize: number
  /** Attention sees at most this many positions, the own one included; undefined: all. */
  readonly window: number | undefined
  /** q, k, v (and o) carry biases. */
  readonly biases: { readonly qkv: boolean; readonly o: boolean }
}

export type Activation = 'silu'

/** y = x + down(act(gate(h)) · up(h)), h = norm(x). */
export interface MlpForm {
  readonly norm: NormForm
  readonly activation: Activation
  readonly biases: boolean
}

/** x = table[ids]. */
export type EmbeddingForm = Readonly<Record<string, never>>

/** logits = norm(x) · headᵀ. */
export interface HeadForm {
  readonly norm: NormForm
  /** Role of the output matrix: the embedding itself when tied. */
  readonly weight: 'embedTokens' | 'lmHead'
}
