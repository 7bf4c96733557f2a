/** The mathematics of each part of a model as plain data; `graph/` turns a form into operations. */

/** Its scale has the role a graph gives it; a layer norm's bias has the same role with `Bias` behind. */
export type NormForm =
  /** x / √(mean(x²) + ε) · (scale + `offset`): Gemma stores its scales less one. */
  | { readonly type: 'rms'; readonly epsilon: number; readonly offset?: number }
  /** (x - mean(x)) / √(var(x) + ε) · scale + bias */
  | { readonly type: 'layer'; readonly epsilon: number }

/** Rotary position embedding, resolved: scaling is already inside the frequencies. */
export interface RopeForm {
  /** One angle per pair of channels and position: R/2 values, radians per token. The R first channels of a head turn. */
  readonly inverseFrequencies: readonly number[]
}

/** How attention learns about positions. */
export type Positions =
  /** q and k are turned by their position. */
  | { readonly type: 'rotary'; readonly rope: RopeForm }
  /** Scores get slope · key position, a slope for each query head of the dense model: K·G values. */
  | { readonly type: 'alibi'; readonly slopes: readonly number[] }
  /** It does not: the embedding adds them. */
  | { readonly type: 'none' }

/** y = x + o(softmax(cap(q kᵀ · scale) + mask) v), q, k, v from norm(x). */
export interface AttentionForm {
  readonly norm: NormForm
  /** Applied to what the branch adds to the stream (Gemma 2 and 3); absent: nothing is. */
  readonly postNorm?: NormForm
  /** Applied to q and k of each head, over E, before they are turned (Qwen3, Gemma 3). */
  readonly headNorm?: NormForm
  readonly positions: Positions
  readonly headDim: number
  /** Query heads per key/value head, G. */
  readonly groupSize: number
  /** What q kᵀ is multiplied by: most often 1/√E. */
  readonly scale: number
  /** Scores s become c · tanh(s / c). */
  readonly softcap?: number
  /** Attention sees at most this many positions, the own one included; undefined: all. */
  readonly window: number | undefined
  /** q, k, v (and o) carry biases. */
  readonly biases: { readonly qkv: boolean; readonly o: boolean }
  /** Matrices are stored (in, out), as GPT-2's Conv1D does. */
  readonly inputFirst?: boolean
}

export type Activation = 'silu' | 'gelu' | 'geluTanh' | 'relu'

/** y = x + down(act(gate(h)) · up(h)) or, not gated, y = x + down(act(up(h))); h = norm(x). */
export interface MlpForm {
  readonly norm: NormForm
  /** Applied to what the branch adds to the stream (Gemma 2 and 3); absent: nothing is. */
  readonly postNorm?: NormForm
  readonly gated: boolean
  readonly activation: Activation
  readonly biases: boolean
  /** h is the norm of the layer's input, which the attention of the layer reads too (GPT-NeoX, Phi, Falcon). */
  readonly parallel?: boolean
  /** Matrices are stored (in, out), as GPT-2's Conv1D does. */
  readonly inputFirst?: boolean
}

/** x = norm(table[ids] · scale + positions[t + offset]), each part where it is given. */
export interface EmbeddingForm {
  readonly scale?: number
  /** Learned positions; the table has `count` rows, position 0 is row `offset` (2 in OPT). */
  readonly positions?: { readonly offset: number; readonly count: number }
  readonly norm?: NormForm
}

/** logits = cap(norm(x) · headᵀ + bias) */
export interface HeadForm {
  readonly norm: NormForm
  /** Role of the output matrix: the embedding itself when tied. */
  readonly weight: 'embedTokens' | 'lmHead'
  /** There is an `lmHeadBias`. */
  readonly bias?: boolean
  /** Logits z become c · tanh(z / c). */
  readonly softcap?: number
  /** Every row of the matrix is brought to length 1 first (Baichuan 2). */
  readonly unitRows?: boolean
}
