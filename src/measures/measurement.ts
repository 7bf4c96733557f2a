import type { PruningPlan, StopSignal, TokenRows } from '../types.ts'
import type { MeasureName, Measures } from './registry.ts'

/** A hash of the contents of rows, as `Engine.put` gives it. */
export type RowsId = string & { readonly rows?: never }

/**
 * What is asked of the machine: for these plans, on these rows, one result of a measure each. Plain JSON: the message to the
 * thread, the key of the journal, the job of a queue.
 */
export interface Measurement<M extends MeasureName = MeasureName> {
  readonly rows: RowsId
  /** First row and the row after the last; default all. */
  readonly range?: readonly [start: number, end: number] | undefined
  readonly plans: readonly PruningPlan[]
  /**
   * A plan that these and the plans of later measurements differ little from: its states are worth remembering. Changes no value.
   * Absent: what all plans have in common, where they are more than two.
   */
  readonly prefix?: PruningPlan | undefined
  readonly measure: { readonly name: M } & Measures[M]['options']
}

/** How a measurement is followed and stopped. */
export interface Following {
  /** The promise rejects with an `AbortError` when it fires. */
  readonly signal?: StopSignal | undefined
  /**
   * Called for each plan as soon as its values are complete, before the promise resolves; by measures that give one value a row.
   * `recalled`: nothing was measured, it was known.
   */
  readonly onRows?: ((plan: number, values: Float64Array, recalled?: boolean) => void) | undefined
}

/** Runs plans of one model. The one door to the machine: methods and objectives get one handed in. */
export interface Engine {
  /** Hands over rows, once for equal contents. The arrays must not be written to afterwards. */
  put(rows: TokenRows): Promise<RowsId>
  /** One result for each plan. Throws `EngineError` for rows that were not put. */
  measure<M extends MeasureName>(what: Measurement<M>, how?: Following): Promise<Measures[M]['result'][]>
  close(): Promise<void>
}

/** Hands `rows` over and measures them. */
export async function measureOn<M extends MeasureName>(
  engine: Pick<Engine, 'put' | 'measure'>,
  rows: TokenRows,
  what: Omit<Measurement<M>, 'rows'>,
  how?: Following,
): Promise<Measures[M]['result'][]> {
  return engine.measure({ ...what, rows: await engine.put(rows) }, how)
}
