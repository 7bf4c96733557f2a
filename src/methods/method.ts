import type { OutputDistance } from '../measures/distanceRecipes.ts'
import type { Engine } from '../measures/measurement.ts'
import type { Model } from '../model/model.ts'
import type { BlockId, BlockKind, PruningPlan, PruningStep, RowObjective, StopSignal, TokenRows } from '../types.ts'
import type { Granularity } from './maskUnits.ts'

/** What a run hands to its method. */
export interface MethodContext {
  readonly model: Model
  /** The loss that steps are recorded with: mean of the rows' means. */
  readonly objective: RowObjective
  /** The same losses averaged over tokens. */
  readonly pooled: RowObjective
  /** A distance of predictions from the dense model's. */
  readonly distance: (measure: OutputDistance, options?: { readonly topK?: number | undefined }) => RowObjective
  readonly engine: Engine
  readonly rows: TokenRows
  readonly kinds: readonly BlockKind[]
  readonly seed: number
  /** Whether a plan removes what the budget asks for. */
  readonly reached: (plan: PruningPlan) => boolean
  readonly signal: StopSignal | undefined
}

export type OptionValue = string | number | boolean

/** Options by name, as checked by `optionsOf`. */
export type MethodOptions = Readonly<Record<string, OptionValue>>

/** One option of a method: a flag of the command line and an entry of plan.json. */
export type MethodOption = { readonly says: string } & (
  | { readonly type: 'choice'; readonly choices: readonly string[]; readonly default: string }
  /** Absent default: the option is off. */
  | { readonly type: 'number'; readonly from: number; readonly to: number; readonly default?: number }
  | { readonly type: 'flag'; readonly default: boolean }
)

/** A pruning method by its name. */
export interface Method {
  readonly name: string
  /** As people call it, for a model card. */
  readonly title: string
  /** Where it is published; absent for what needs no paper. */
  readonly paper?: string
  /** What goes at once. */
  readonly unit: string
  /** Forward passes over the calibration text, n blocks or l layers. */
  readonly cost: string
  readonly options: Readonly<Record<string, MethodOption>>
  /** Throws `PlanError` for options that contradict each other; each by itself was checked before. */
  check?(options: MethodOptions): void
  /** Bytes kept besides weights and states while it runs. */
  keeps?(model: Model, rows: TokenRows, options: MethodOptions): number
  /** All that it may remove. Throws `PlanError` for kinds of blocks that it cannot tell apart. */
  removable(model: Model, kinds: readonly BlockKind[], options: MethodOptions): readonly BlockId[]
  run(context: MethodContext, options: MethodOptions): AsyncGenerator<PruningStep, void>
  /** What its masks keep or remove; absent: it has none, and removes whole blocks. */
  masks?(options: MethodOptions): readonly Granularity[]
  /** It is given the budget and ends by itself: its steps are states of a search, not removals towards a budget. */
  readonly endsItself?: true
}
