import type { Handle, HostValues } from '../device/device.ts'
import type { ElementType } from '../graph/operations.ts'
import type { Head, HeadKind, Program, Stage } from '../graph/program.ts'
import type { Model } from '../model/model.ts'
import type { Block, PruningPlan, StopSignal, TokenRows } from '../types.ts'

/** Rows that go through an operation together. */
export interface Batch {
  /** Counted from the first of the rows that are measured. */
  readonly first: number
  readonly rows: number
}

/** Rows whose states are remembered together. */
export interface Chunk {
  readonly start: number
  readonly batches: readonly Batch[]
}

/** Named tensors of one micro-batch: its data, and the states that the stages so far wrote. */
export type Tensors = Readonly<Record<string, Handle>>

/** The tensors of each micro-batch of a chunk. Whoever shows it keeps it: read what is needed before returning. */
export type State = readonly Tensors[]

export interface HostTensor {
  readonly type: ElementType
  readonly values: HostValues
  readonly dims: readonly number[]
}

/** What a measure wants to see of a walk. Every call gets the numbers of the plans that are the same model so far. */
export interface Observer {
  /** Before the plans walk a chunk. */
  chunk?(chunk: Chunk): Promise<void>
  /** Before a stage that these plans run. `channels`, of a block: what enters its output matrix in micro-batch `i`, (B,T,C). */
  before?(at: Step, channels: (i: number) => Promise<Float32Array>): Promise<void>
  after?(at: Step): Promise<void>
  /** The final states of plans that are the same model. */
  arrive?(plans: readonly number[], chunk: Chunk, state: State): Promise<void>
}

/** A stage on its way: what it computes, for whom, and the states before or after it. */
export interface Step {
  readonly stage: Stage
  readonly plans: readonly number[]
  readonly chunk: Chunk
  readonly state: State
}

export interface Walking {
  readonly rows: TokenRows
  readonly plans: readonly PruningPlan[]
  /** A plan that these and the plans of later walks differ little from: its states are worth remembering. Changes no value. */
  readonly prefix?: PruningPlan | undefined
  readonly signal?: StopSignal | undefined
  /** As few micro-batches together as costs nothing, so that few states are alive; nothing is remembered or recalled. */
  readonly fewStates?: boolean | undefined
  /** Only these of the rows, batched as another walk batches them. */
  readonly chunk?: Chunk | undefined
}

/** What a measure is measured on: a loaded model, and walks of plans over rows. */
export interface Machine {
  readonly model: Model
  readonly program: Program
  /** Hidden width D. */
  readonly width: number
  /** Words, or classes, that the head tells apart. */
  readonly vocabulary: number
  walk(walking: Walking, observer: Observer): Promise<void>
  /** The head for `kind`. Throws `UnsupportedModelError` for a model without one. */
  head(kind: HeadKind): Head
  /** The result of a head on `positions` positions, given what it reads under its own names for them. */
  runHead(kind: HeadKind, positions: number, given: Readonly<Record<string, HostTensor>>): Promise<Float32Array>
  /** The numbers of a state, float32: valid until the observer returns, so keep a copy of what is needed longer. */
  read(handle: Handle): Promise<Float32Array>
  /** The matrix that a branch ends with, (D,C), or (C,D) where `inputFirst`. */
  outputMatrix(block: Block): Promise<{ readonly values: Float32Array; readonly inputFirst: boolean }>
  /**
   * What was made last under `name` for the same key, else what `make` makes. For what the dense model says of rows: kept for one key
   * alone, since it may be large.
   */
  remember<T>(name: string, key: readonly unknown[], make: () => Promise<T>): Promise<T>
  /** Lets go of what it has opened; the device is the caller's. */
  close(): Promise<void>
}

/** What a measure is asked: rows, plans and its own options. */
export interface Asked<Options> {
  readonly rows: TokenRows
  readonly plans: readonly PruningPlan[]
  readonly prefix: PruningPlan | undefined
  readonly options: Options
  readonly signal: StopSignal | undefined
  /** Called for each plan as soon as all its rows are measured; of measures that give one value a row. */
  readonly onRows: ((plan: number, values: Float64Array) => void) | undefined
}

/** One way to look at plans: which states it observes, its head, how its values are folded in float64. */
export interface Measure<Options, Result> {
  measure(machine: Machine, asked: Asked<Options>): Promise<Result[]>
}

/** A measure that gives one number a row, and so can be minimised. */
export interface RowMeasure<Options> extends Measure<Options, Float64Array> {
  /** What its values count: `nats per token`. */
  unit(options: Options): string
  /** Its name in a journal. */
  journalName(options: Options): string
}

/** Rows whose states `stage` computes: an encoder's, or those of the decoder behind it. */
export function rowsOfStage({ ids }: Stage, rows: TokenRows): TokenRows {
  return ids === 'decoderIds' ? (rows.decoder ?? rows) : rows
}

/** Positions that go through a head together, so that its logits and what is made of them (`copies`) fit `logitBytes`. */
export function headParts(positions: number, vocabulary: number, copies: number): [start: number, end: number][] {
  const size = Math.max(1, Math.floor(logitBytes / 4 / copies / vocabulary))
  return Array.from({ length: Math.ceil(positions / size) }, (_, i) => [i * size, Math.min(positions, (i + 1) * size)])
}

/** Bytes of one tensor of logits: the head is the widest operation by far, and a soft cap or a bias makes more of them. */
const logitBytes = 2 ** 25
