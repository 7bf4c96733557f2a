import type { OutputDistance } from '../measures/distanceRecipes.ts'
import type { Engine } from '../measures/measurement.ts'
import type { Model } from '../model/model.ts'
import type { Moves } from '../search/candidates.ts'
import type { BlockId, BlockKind, PruningPlan, PruningStep, RowObjective, StopSignal, TokenRows } from '../types.ts'
import type { Granularity } from './maskUnits.ts'
import type { OptionSchema, OptionsOf } from './options.ts'

/** One removal after the other, each step with the plan that it ends at. */
export type Steps = AsyncGenerator<PruningStep, void>

/** Where a loop begins and what it must leave alone. */
export interface LoopOptions {
  /** Default the whole model. What holds for a whole run, as norms that go with their branches, is said here. */
  readonly start?: PruningPlan | undefined
  /** Kinds of blocks that may go; default all that the model has. */
  readonly kinds?: readonly BlockKind[] | undefined
  /** Blocks that stay, whatever a method thinks of them. */
  readonly keep?: ReadonlySet<BlockId> | undefined
  readonly signal?: StopSignal | undefined
}

/** What a method may remove from, as it is known before anything is measured. */
export interface Scope {
  readonly model: Model
  readonly start: PruningPlan
  readonly kinds: readonly BlockKind[]
  readonly keep: ReadonlySet<BlockId>
}

/** How large a search is, for what it will cost. */
export interface Scale {
  /** Blocks that may go. */
  readonly blocks: number
  /** Layers that hold one of them. */
  readonly layers: number
  /** Blocks that have to go. */
  readonly steps: number
  /** Rows of the calibration text. */
  readonly rows: number
}

/** What a run hands to its method or search. */
export interface MethodContext extends Scope {
  /** What plans are compared by: the loss that steps are recorded with, unless a search was asked to compare something else. */
  readonly objective: RowObjective
  /** The loss averaged over tokens instead of rows. */
  readonly pooled: RowObjective
  /** A distance of predictions from the dense model's. */
  readonly distance: (measure: OutputDistance, options?: { readonly topK?: number | undefined }) => RowObjective
  /** What may go in a step, and come back; for loops over any candidates. */
  readonly moves: Moves
  /** The plan that a search was told to improve. */
  readonly toImprove?: PruningPlan | undefined
  readonly engine: Engine
  readonly rows: TokenRows
  readonly seed: number
  /** Whether a plan removes what the budget asks for. */
  readonly isReached: (plan: PruningPlan) => boolean
  readonly signal: StopSignal | undefined
}

/** A pruning method, or another way to search a method's plan, as its own file describes it. */
export interface Method<Name extends string = string, Schema extends OptionSchema = OptionSchema> {
  readonly name: Name
  /** `search`: another loop over the candidates of a method that is `searchable`. */
  readonly role: 'method' | 'search'
  /** As people call it, for a model card. */
  readonly title: string
  /** Where it is published; absent for what needs no paper. */
  readonly paper?: string
  /** What goes at once. */
  readonly unit: string
  /** Forward passes over the calibration text, n blocks or l layers. */
  readonly cost: string
  /** What somebody who takes it should know before. */
  readonly note?: string
  readonly options: Schema
  /**
   * Forward passes that it will take, where that is known; default one a step. Plans share their beginnings, so that a candidate is half a
   * pass.
   */
  passes?(scale: Scale, options: OptionsOf<Schema>): number
  /** Throws `PlanError` for options that contradict each other; each by itself was checked before. */
  check?(options: OptionsOf<Schema>): void
  /** Bytes kept besides weights and states while it runs. */
  keeps?(model: Model, rows: TokenRows, options: OptionsOf<Schema>): number
  /** All that it may remove. Throws `PlanError` for kinds of blocks that it cannot tell apart. */
  removable(scope: Scope, options: OptionsOf<Schema>): readonly BlockId[]
  run(context: MethodContext, options: OptionsOf<Schema>): Steps
  /** What its masks keep or remove; absent: it has none, and removes whole blocks. */
  masks?(options: OptionsOf<Schema>): readonly Granularity[]
  /** It removes whole layers alone; absent: single blocks too. */
  takesLayers?(options: OptionsOf<Schema>): boolean
  /** It is given the budget and ends by itself: its steps are states of a search, not removals towards a budget. */
  readonly endsItself?: true
  /** The option that, given without a method, means this one. */
  readonly chosenBy?: string
  /** It removes all that `removable` lists, whatever budget is asked for. */
  readonly removesAll?: true
  /** Its plan may be searched otherwise, by anything whose role is `search`. */
  readonly searchable?: true
  /** What to take instead where a search is asked for; for methods that are not searchable. */
  readonly searchInstead?: string
}

/** A method as it stands in the registry: types of its options are inferred from their schema. */
export function defineMethod<const Name extends string, const Schema extends OptionSchema>(
  method: Method<Name, Schema>,
): Method<Name, Schema> {
  return method
}
