/**
 * The nouns of the toolkit. A plan is data, a model is data, a method is a loop.
 *
 * Shape letters, the same everywhere: B batch · T sequence · D hidden · K key/value heads · G query heads per key/value
 * head · E head dim · F intermediate · V vocabulary · N tokens (B·T).
 */

/** A residual branch with its own norm. */
export type BlockKind = 'attention' | 'crossAttention' | 'mlp'

export type StackName = 'encoder' | 'decoder'

/** Names one block: `decoder.12.mlp`. */
export type BlockId = `${StackName}.${number}.${BlockKind}`

/** What to leave out of a model. The only description of a pruned model. */
export interface PruningPlan {
  /** Removed branches, in the order removed. */
  readonly blocks: readonly BlockId[]
  /** Removed units (key/value head groups or intermediate channels) of the blocks that stay. */
  readonly units: Readonly<Partial<Record<BlockId, readonly number[]>>>
  /**
   * What becomes of the norm behind a removed branch, as BERT and BART have one: kept, x ← norm(x), or dropped with the branch,
   * x ← x. Absent: kept. A norm before a branch always goes with it.
   */
  readonly outputNorms?: 'keep' | 'drop' | undefined
  /**
   * Added to the output matrix of blocks that lost units, for what those gave on average (FLAP): D numbers a block, base64 of
   * little-endian float32. Absent: nothing is added.
   */
  readonly outputBiases?: Readonly<Partial<Record<BlockId, string>>> | undefined
}

/** `config.json`, untouched; an architecture table reads it. */
export type ModelConfig = Readonly<Record<string, unknown>>

/** How a tensor's elements are stored. The names are those of safetensors and GGUF. */
export type StoredType =
  | ('F32' | 'F16' | 'BF16' | 'F64' | 'I64' | 'I32' | 'I16' | 'I8' | 'U8' | 'BOOL')
  | ('Q4_0' | 'Q4_1' | 'Q5_0' | 'Q5_1' | 'Q8_0' | 'Q4_K' | 'Q5_K' | 'Q6_K')

export interface TensorInfo {
  readonly name: string
  readonly type: StoredType
  readonly shape: readonly number[]
}

/** The tensors of a checkpoint under their Hugging Face names, read by position when asked for. */
export interface WeightStore {
  readonly tensors: ReadonlyMap<string, TensorInfo>
  /** Tensors of a type that cannot be read as weights, with that type's name: `F8_E4M3`. */
  readonly unsupported?: ReadonlyMap<string, string>
  /** The files behind the store, in the order their bytes enter the content hash. */
  readonly files: readonly string[]
  /** Values widened to float32, row-major; the caller owns the array. Throws `CheckpointError` for an unknown name. */
  read(name: string): Promise<Float32Array<ArrayBuffer>>
  /** Stored bytes, little-endian, unconverted; only for types that safetensors knows. The caller owns them. */
  readBytes(name: string): Promise<Uint8Array<ArrayBuffer>>
  close(): Promise<void>
}

/** Checkpoint name and axes of one weight: `(K G E) D` says the shape, and how to slice when unit K goes. */
export type WeightTable = Readonly<Record<string, readonly [name: string, axes: string]>>

/** One residual branch of a loaded model. */
export interface Block {
  readonly id: BlockId
  readonly kind: BlockKind
  readonly stack: StackName
  readonly layer: number
  /** Key/value head groups (attention) or intermediate channels (mlp). */
  readonly units: number
  /** All parameters of the branch, its norm included. */
  readonly parameters: number
  readonly weights: WeightTable
}

/** Lower is better. The one door between the methods and the machine: sharing, caching and journaling live behind it. */
export interface Objective {
  /** What the losses count: `nats per token`. */
  readonly unit: string
  evaluate(plans: readonly PruningPlan[], signal?: StopSignal): Promise<number[]>
}

/** An objective that also tells the rows apart, for searches that compare plans row by row. */
export interface RowObjective extends Objective {
  /** Its name in a journal. */
  readonly measure: string
  readonly rows: number
  /** For each plan one value for each row of `range`. */
  evaluateRows(plans: readonly PruningPlan[], options?: RowOptions): Promise<Float64Array[]>
  /** The loss of all rows from the values of rows `start`, `start + 1`, … */
  combine(values: Float64Array, start?: number): number
}

export interface RowOptions {
  /** First row and the row after the last; default all. */
  readonly range?: readonly [start: number, end: number] | undefined
  /** A plan that these and the plans of later calls differ little from: its states are worth remembering. Changes no value. */
  readonly trunk?: PruningPlan | undefined
  readonly signal?: StopSignal | undefined
  /** Called for each plan as soon as its values are complete, before the promise resolves. */
  readonly onRows?: ((plan: number, values: Float64Array) => void) | undefined
}

/** One candidate and the loss of the model without it. */
export interface Score {
  readonly block: BlockId
  /** Blocks that would go with it, where a step removes several. */
  readonly others?: readonly BlockId[] | undefined
  readonly loss: number
}

/** One removal chosen by a method. */
export interface PruningStep {
  readonly plan: PruningPlan
  /** Blocks removed in this step. */
  readonly removed: readonly BlockId[]
  /** Blocks of earlier steps that this step put back; absent: none. */
  readonly restored?: readonly BlockId[]
  /** Loss of the model without everything in `plan`. */
  readonly loss: number
  /** What the step was chosen by, lower first, where that is not `loss`: a distance, an influence, a sum of weights. */
  readonly score?: number
  /** The second-best candidate of the step, absent when there was only one. */
  readonly runnerUp?: Score
}

/** Token ids: `rows` rows of `rowLength` tokens, row-major. Packed, and predicting the next token, unless said otherwise. */
export interface TokenRows {
  readonly ids: Int32Array
  readonly rows: number
  readonly rowLength: number
  /** Tokens of each row before the padding at its end; absent: no row is padded. */
  readonly lengths?: Int32Array | undefined
  /** The id, or the class, that each position is to predict, -1 for none, as long as `ids`; absent: the next token. */
  readonly targets?: Int32Array | undefined
  /** What the decoder of an encoder-decoder reads and predicts; its encoder reads these rows. */
  readonly decoder?: TokenRows | undefined
}

export type LossArithmetic = 'precise' | 'released'

export interface TokenLossOptions {
  /** A target id that is not counted, as the padding id in BlockPruner's code. */
  readonly ignored?: number | undefined
  /**
   * How log Σ exp is summed over the vocabulary. `precise` (default): agrees with float64 to 1e-5 nats. `released`: in plain float32,
   * as PyTorch does for the authors' permuted logits; 1e-4 nats too low for 49,152 tokens, and what their published numbers have.
   */
  readonly arithmetic?: LossArithmetic | undefined
  /** Remember the states along this plan; absent: along what all plans have in common. */
  readonly trunk?: PruningPlan | undefined
  readonly signal?: StopSignal | undefined
  /** Called for each plan as soon as its losses are complete, before the promise resolves. */
  readonly onLosses?: ((plan: number, losses: Float64Array) => void) | undefined
}

export interface HiddenDistanceOptions {
  /** 1 - cos(h, h'), or the mean over the width of (h - h')². */
  readonly measure: 'cosine' | 'meanSquared'
  readonly signal?: StopSignal | undefined
  /** Called for each plan as soon as its distances are complete, before the promise resolves. */
  readonly onLosses?: ((plan: number, distances: Float64Array) => void) | undefined
}

/** How far predictions are from the dense model's; `js_reversed` and `official_*` as FinerCut's released code has them. */
export type OutputDistance =
  | ('js' | 'kl' | 'angular' | 'euclidean')
  | ('js_reversed' | 'official_kl' | 'official_angular' | 'official_norm')

export interface OutputDistanceOptions {
  readonly measure: OutputDistance
  /**
   * Tell only so many words apart at each token, those that the dense model finds most likely, and count the others as one. For
   * js, kl, js_reversed and official_kl, which get no larger by it; one head for a plan instead of two. Absent: all words.
   */
  readonly topK?: number | undefined
  /** As for `tokenLosses`. */
  readonly trunk?: PruningPlan | undefined
  readonly signal?: StopSignal | undefined
  /** Called for each plan as soon as its distances are complete, before the promise resolves. */
  readonly onLosses?: ((plan: number, distances: Float64Array) => void) | undefined
}

/** From the input of the first block to the output of the last, blocks of one stack. */
export type Span = readonly [first: BlockId, last: BlockId]

/** cos(x, y), mean over tokens; or arccos(cos(x, y)) / π at the last token of a row. */
export type SpanMeasure = 'cosine' | 'lastAngle'

export interface SpanOptions {
  readonly measure: SpanMeasure
  readonly signal?: StopSignal | undefined
}

/** Of each channel that enters the output matrix W of a branch (`oProj`, `downProj`), in float64. */
export interface ChannelStatistics {
  /** Mean of the activation over tokens. */
  readonly mean: Float64Array
  /** Mean of its square over tokens. */
  readonly meanSquare: Float64Array
  /** Mean over outputs of |W|. */
  readonly absoluteWeight: Float64Array
  /** Σ over outputs of W². */
  readonly squaredWeight: Float64Array
}

export interface PassSecondsOptions {
  /** From 1. */
  readonly repeats: number
  readonly signal?: StopSignal | undefined
}

/** Runs plans of one model. Methods and objectives get one handed in. */
export interface Engine {
  /**
   * For each plan the loss of each row: nats summed over what it predicts (T-1 tokens where the rows have no `targets`). Sums
   * are float64, each token's loss is float32. Rejects with an `AbortError` when the signal fires, with `UnsupportedModelError`
   * for a model without a head.
   */
  tokenLosses(rows: TokenRows, plans: readonly PruningPlan[], options?: TokenLossOptions): Promise<Float64Array[]>
  /**
   * For each plan the distance of each row's final hidden states (the decoder's, where there is one) from the dense model's:
   * the mean over the tokens that are not padding, in float64. Abortable as `tokenLosses`.
   */
  hiddenDistances(
    rows: TokenRows,
    plans: readonly PruningPlan[],
    options: HiddenDistanceOptions,
  ): Promise<Float64Array[]>
  /**
   * For each plan the distance of each row's predictions from the dense model's, at every token that is not padding. Kept of the
   * dense model are its final hidden states (B·T,D), never its logits: both heads run for a few tokens at a time. In float64 from
   * the logits on. Abortable as `tokenLosses`.
   */
  outputDistances(
    rows: TokenRows,
    plans: readonly PruningPlan[],
    options: OutputDistanceOptions,
  ): Promise<Float64Array[]>
  /** For each span of the dense model, how alike the hidden states before and after it are in each row: one forward pass. */
  similarities(rows: TokenRows, spans: readonly Span[], options: SpanOptions): Promise<Float64Array[]>
  /** For each of `blocks` of the dense model what its channels do on `rows`: one forward pass. */
  channelStatistics(
    rows: TokenRows,
    blocks: readonly BlockId[],
    options?: { readonly signal?: StopSignal | undefined },
  ): Promise<ChannelStatistics[]>
  /**
   * For each plan where the time of one forward pass of `rows` goes, in seconds: first what every plan keeps (embedding, norms,
   * the head at one position a row, as when a prompt is read), then each block in forward order, 0 for one that does not run. Each
   * is the median of `repeats` passes, the plans taken in turn; a pass before those warms up. Nothing is shared between plans.
   */
  passSeconds(rows: TokenRows, plans: readonly PruningPlan[], options: PassSecondsOptions): Promise<Float64Array[]>
  /** Final hidden states before the head, (B·T,D) row-major, padding included; for embeddings and checks on small inputs. */
  hiddenStates(rows: TokenRows, plan: PruningPlan): Promise<Float32Array>
  /** Logits of every position, or one row of classes for each row, row-major: (B·T,V) or (B,C); for checks on small inputs. */
  logits(rows: TokenRows, plan: PruningPlan): Promise<Float32Array>
  /** The first part of the dense model with a non-finite output: a block id or `embedding`; undefined when all are finite. */
  firstNonFinite(rows: TokenRows): Promise<string | undefined>
  close(): Promise<void>
}

/** How a caller stops what runs: any `AbortSignal` is one. Spelled out, so that the types need neither Node's nor a browser's. */
export interface StopSignal {
  readonly aborted: boolean
  readonly reason?: unknown
  throwIfAborted(): void
  addEventListener(type: 'abort', listener: () => void): void
  removeEventListener(type: 'abort', listener: () => void): void
}
