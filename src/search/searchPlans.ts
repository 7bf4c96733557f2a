import type { Model } from '../model/model.ts'
import type { BlockKind, PruningPlan, PruningStep, RowObjective, StopSignal } from '../types.ts'
import { beam } from './beam.ts'
import { type Moves, singleBlocks } from './candidates.ts'
import { evolve } from './evolve.ts'
import { exact } from './exact.ts'
import { fast } from './fast.ts'
import { stock } from './stock.ts'
import { swap } from './swap.ts'

export const searchNames = ['exact', 'fast', 'beam', 'swap', 'evolve'] as const
export type SearchName = (typeof searchNames)[number]

/** `stock`: only plans whose survivors alternate, see `stock.ts`. */
export type PlanLayout = 'any' | 'stock'

export interface SearchOptions {
  readonly search: SearchName
  readonly layout: PlanLayout
  /** The search that `swap` and `evolve` improve on. */
  readonly start: 'exact' | 'fast'
  /** Plans that `beam` keeps. */
  readonly beamWidth?: number | undefined
  /** Generations of `evolve`. */
  readonly generations?: number | undefined
  /** Exchanges in a row that improve nothing, after which a sweep of `swap` ends. */
  readonly patience?: number | undefined
  readonly kinds: readonly BlockKind[]
  readonly isReached: (plan: PruningPlan) => boolean
  /** For a stock layout, see `stock.ts`. */
  readonly isStock?: ((plan: PruningPlan) => boolean) | undefined
  readonly seed: number
  readonly signal?: StopSignal | undefined
}

/** The search called for. `check` judges between the two attempts of a stock layout. */
export function searchPlans(
  model: Model,
  objective: RowObjective,
  check: RowObjective,
  options: SearchOptions,
): AsyncGenerator<PruningStep, void> {
  const search = (moves: Moves) => searches[options.search](model, objective, moves, options)
  if (options.layout === 'any') return search(singleBlocks(model, options.kinds))
  const { isReached, isStock, signal } = options
  return stock(model, check, { search, isReached, isStock, signal })
}

/** Whether the search is given the budget and ends by itself, instead of removing on until it is told to stop. */
export function endsItself({ search, layout }: Pick<SearchOptions, 'search' | 'layout'>): boolean {
  return layout === 'stock' || !(search === 'exact' || search === 'fast')
}

type Search = (
  model: Model,
  objective: RowObjective,
  moves: Moves,
  options: SearchOptions,
) => AsyncGenerator<PruningStep, void>

const searches: Record<SearchName, Search> = {
  exact: (_, objective, { removals }, { signal }) => exact(objective, removals, signal),
  fast: (model, objective, { removals }, { signal }) => fast(model, objective, { candidates: removals, signal }),
  beam: (model, objective, { removals }, { beamWidth, isReached, signal }) =>
    beam(model, objective, { width: beamWidth, candidates: removals, isReached, signal }),
  swap: (model, objective, moves, options) => {
    const start = searches[options.start](model, objective, moves, options)
    return swap(model, objective, { ...options, start, moves })
  },
  evolve: (model, objective, moves, options) => {
    const start = searches[options.start](model, objective, moves, options)
    return evolve(model, objective, { ...options, start, moves })
  },
}
