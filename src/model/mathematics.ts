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
  /** What cosines and sines are multiplied by (YaRN, LongRoPE); 1 unless given. */
  readonly magnitude?: number
  /** All positions of a row with more than `beyond` tokens turn at these instead (LongRoPE). */
  readonly long?: { readonly beyond: number; readonly inverseFrequencies: readonly number[] }
  /** In rows of T > `beyond` tokens base^(-2i/R), the base times (factor · T / beyond - factor + 1)^(R / (R - 2)). */
  readonly dynamic?: { readonly beyond: number; readonly base: number; readonly factor: number }
}

/** How attention learns about positions. */
export type Positions =
  /** q and k are turned by their position. */
  | { readonly type: 'rotary'; readonly rope: RopeForm }
  /**
   * Scores get slope · key position · factor, a slope for each query head of the dense model: K·G values. The first product
   * and what enters it are rounded to bfloat16 where the family's code does so (Falcon).
   */
  | {
      readonly type: 'alibi'
      readonly slopes: readonly number[]
      readonly factor: number
      readonly rounds?: 'bfloat16'
    }
  /** It does not: the embedding adds them. */
  | { readonly type: 'none' }

/** y = x + o(softmax(cap(q kᵀ · scale) + mask) v), q, k, v from norm(x). */
export interface AttentionForm {
  /** Absent: q, k and v are made of x itself. */
  readonly norm?: NormForm
  /** Applied to what the branch adds to the stream (Gemma 2 and 3); absent: nothing is. */
  readonly postNorm?: NormForm
  /** Applied to y (OPT-350m); stays when the branch goes, unless the plan says otherwise. Absent: nothing is. */
  readonly outputNorm?: NormForm
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

/**
 * y = norm(x + o(softmax(q kᵀ · scale + bias + mask) v)): attention of encoders and encoder-decoders, with a key/value head for
 * each query head and positions, if any, as a bias of the scores.
 */
export interface MultiHeadForm {
  /** Which positions a query sees: its row but for the padding, those up to its own, or the encoder's but for the padding. */
  readonly sees: 'row' | 'past' | 'memory'
  /** Applied to x before q (and k and v, unless they come from the encoder) is made of it; absent: nothing is. */
  readonly norm?: NormForm
  /** Applied to the stream after the branch is added; stays when the branch goes, unless the plan says otherwise. */
  readonly outputNorm?: NormForm
  readonly headDim: number
  /** What q kᵀ is multiplied by: 1/√E, or 1 in T5. */
  readonly scale: number
  readonly biases: boolean
  /** The output matrix has a bias although the others have none: a plan added it. */
  readonly outputBias?: true
  /** Heads of the dense model, where scores get the stack's position bias of their head; absent: they do not. */
  readonly positionBias?: { readonly heads: number }
}

/** T5's position bias: one number for each head and range of distances, read by every self-attention of a stack. */
export interface PositionBiasForm {
  /** Ranges of distances; with `bothDirections` one half is for keys after the query. */
  readonly buckets: number
  /** Distances from here on share the last range. */
  readonly maxDistance: number
  readonly bothDirections: boolean
}

export type Activation = 'silu' | 'gelu' | 'geluTanh' | 'quickGelu' | 'relu' | 'squaredRelu' | 'tanh'

/** y = x + down(act(gate(h)) · up(h)) or, not gated, y = x + down(act(up(h))); h = norm(x). */
export interface MlpForm {
  /** Absent: h = x. */
  readonly norm?: NormForm
  /** Applied to what the branch adds to the stream (Gemma 2 and 3); absent: nothing is. */
  readonly postNorm?: NormForm
  /** Applied to y (BERT, BART, OPT-350m); stays when the branch goes, unless the plan says otherwise. Absent: nothing is. */
  readonly outputNorm?: NormForm
  readonly gated: boolean
  readonly activation: Activation
  readonly biases: boolean
  /** The output matrix has a bias although the others have none: a plan added it. */
  readonly outputBias?: true
  /** h is the norm of the layer's input, which the attention of the layer reads too (GPT-NeoX, Phi, Falcon). */
  readonly parallel?: boolean
  /** Matrices are stored (in, out), as GPT-2's Conv1D does. */
  readonly inputFirst?: boolean
}

/** x = norm(table[ids] · scale + positions[t + offset]), each part where it is given. */
export interface EmbeddingForm {
  /** Rows of the table are narrower than the stream; `embedProj` widens them, before anything is added (OPT-350m). */
  readonly isProjected?: boolean
  readonly scale?: number
  /**
   * Learned positions; the table has `count` rows, position 0 is row `offset` (2 in OPT). Where there is an `uncounted` id,
   * positions count the other ids alone, and the row of that id is the one before `offset` (RoBERTa).
   */
  readonly positions?: { readonly offset: number; readonly count: number; readonly uncounted?: number }
  /** Positions are sines in the first half of the channels and cosines in the second (Marian). */
  readonly sinusoids?: { readonly width: number }
  /** Row 0 of `tokenTypes` is added: all tokens are of the first type. */
  readonly tokenTypes?: boolean
  readonly norm?: NormForm
}

/** logits = cap(h · scale · headᵀ + bias), h = norm(x) or what `transform` makes of it. */
export interface HeadForm {
  /** Absent: h = x. */
  readonly norm?: NormForm
  /** h becomes as narrow as the rows of the table, by `unembedProj` (OPT-350m). */
  readonly isProjected?: boolean
  /** h becomes norm(act(headProj h + headBias)), the norm where there is one: masked-LM heads, poolers. */
  readonly transform?: { readonly activation: Activation; readonly norm?: NormForm }
  readonly scale?: number
  /** Only the first position of a row predicts: a class of the whole row. */
  readonly readsFirst?: boolean
  /** Role of the output matrix: the embedding itself when tied. */
  readonly weight: 'embedTokens' | 'lmHead' | 'classifier'
  /** There is an `lmHeadBias` or a `classifierBias`; `row`: stored (1,V). */
  readonly bias?: boolean | 'row'
  /** Logits z become c · tanh(z / c). */
  readonly softcap?: number
  /** Every row of the matrix is brought to length 1 first (Baichuan 2). */
  readonly unitRows?: boolean
}
