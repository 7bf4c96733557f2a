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
  /**
   * Values widened to float32, row-major; the caller owns the array. `into`, of the tensor's length, is filled and returned where the
   * store can do so, else left alone. Throws `CheckpointError` for an unknown name.
   */
  read(name: string, into?: Float32Array<ArrayBuffer>): Promise<Float32Array<ArrayBuffer>>
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
  readonly prefix?: PruningPlan | undefined
  readonly signal?: StopSignal | undefined
  /** Called for each plan as soon as its values are complete, before the promise resolves; `recalled`: nothing was measured. */
  readonly onRows?: ((plan: number, values: Float64Array, recalled?: boolean) => void) | undefined
}

/** One candidate and the loss of the model without it. */
export interface Score {
  readonly block: BlockId
  /** Blocks that would go with it, where a step removes several. */
  readonly others?: readonly BlockId[] | undefined
  readonly loss: number
  /** It was not measured on all rows in this step: `loss` is what a search thinks of it. */
  readonly estimated?: true | undefined
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

/** How a caller stops what runs: any `AbortSignal` is one. Spelled out, so that the types need neither Node's nor a browser's. */
export interface StopSignal {
  readonly aborted: boolean
  readonly reason?: unknown
  throwIfAborted(): void
  addEventListener(type: 'abort', listener: () => void): void
  removeEventListener(type: 'abort', listener: () => void): void
}
