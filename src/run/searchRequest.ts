import { PlanError } from '../errors.ts'
import { isStockPlan } from '../export/huggingface.ts'
import type { Method } from '../methods/method.ts'
import { flagNameOf, type MethodOptions } from '../methods/options.ts'
import {
  defaultSearch,
  type OptionsByMethod,
  optionsOf,
  publishedSearch,
  type SearchName,
  searches,
  searchOf,
} from '../methods/registry.ts'
import type { Model } from '../model/model.ts'
import { emptyPlan } from '../model/plan.ts'
import { suggestionFor } from '../nearestName.ts'
import { adjacentBlocks } from '../search/candidates.ts'
import type { BlockKind, PruningPlan } from '../types.ts'

export const objectiveNames = ['perplexity', 'kl', 'js'] as const
export type ObjectiveName = (typeof objectiveNames)[number]

/** `stock`: only plans whose survivors alternate, see `stock.ts`. */
export const layoutNames = ['any', 'stock'] as const
export type PlanLayout = (typeof layoutNames)[number]

interface SharedSearchOptions {
  /** Default `any`. */
  readonly layout?: PlanLayout | undefined
  /** What the search compares plans by, the mean where there are several; default perplexity. */
  readonly objectives?: readonly ObjectiveName[] | undefined
  /** Rows, of those asked for, that the search does not see; default 0, with a stock layout a quarter. */
  readonly checkRows?: number | undefined
}

/** How BlockPruner's plan is searched, by one search with its own options. */
export type SearchRequest = SharedSearchOptions &
  (
    | { readonly search?: undefined }
    | { readonly [Name in SearchName]: { readonly search: Name } & OptionsByMethod[Name] }[SearchName]
  )

/** The same by names that are looked up when the run begins. */
export type AnySearchRequest = Readonly<Record<string, unknown>> & {
  readonly search?: string | undefined
  readonly layout?: string | undefined
  readonly objectives?: readonly string[] | undefined
  readonly checkRows?: number | undefined
}

export interface ResolvedSearch {
  /** Absent: the method's own loop. */
  readonly search: Method | undefined
  readonly options: MethodOptions
  readonly layout: PlanLayout
  readonly objectives: readonly ObjectiveName[]
  readonly checkRows: number | undefined
  /** What plan.json records: nothing for the published loop. */
  readonly recorded: Readonly<Record<string, unknown>>
}

/** The request with its defaults. Throws `PlanError` for names that are none and for options that contradict each other. */
export function resolveSearch(
  request: AnySearchRequest,
  method: Method,
  kinds: readonly BlockKind[] | undefined,
): ResolvedSearch {
  const search = searchOf(request.search ?? (method.searchable ? defaultSearch : publishedSearch))
  const layout = nameOf('--layout', request.layout ?? 'any', layoutNames)
  const objectives = (request.objectives ?? ['perplexity']).map((name) => nameOf('--objective', name, objectiveNames))
  const { checkRows } = request
  const own = new Set(searches.flatMap(({ options }) => Object.keys(options)))
  const given = Object.fromEntries(
    Object.entries(request).filter(([name, value]) => own.has(name) && value !== undefined),
  ) as MethodOptions
  const asked = {
    ...(search.name !== publishedSearch && { search: search.name }),
    ...(layout !== 'any' && { layout }),
    ...(objectives.join() !== 'perplexity' && { objective: objectives }),
    ...given,
  }
  const recorded = { ...asked, ...(checkRows !== undefined && { checkRows }) }
  if (new Set(objectives).size < objectives.length) {
    throw new PlanError(`--objective ${objectives.join(',')}: names one objective twice; give each once`)
  }
  checkSearchable(method, Object.keys(asked))
  const options = optionsOf(search, given)
  if (layout === 'stock' && kinds !== undefined && !(kinds.includes('attention') && kinds.includes('mlp'))) {
    throw new PlanError(
      `--kinds ${kinds.join(',')}: --layout stock removes attention and mlp together, expected attention,mlp; leave --kinds out`,
    )
  }
  return { search: method.searchable ? search : undefined, options, layout, objectives, checkRows, recorded }
}

/** Throws `PlanError` where a search is asked of a method that is its own. */
function checkSearchable({ name, searchable, searchInstead }: Method, asked: readonly string[]): void {
  const [first] = asked
  if (searchable || first === undefined) return
  const advice = searchInstead === undefined ? '' : `; ${searchInstead}`
  throw new PlanError(
    `--${flagNameOf(first)}: belongs to the search of blockpruner, found with --method ${name}; leave one of them out${advice}`,
  )
}

/** Throws `PlanError` when no plan of `model` is a stock checkpoint. */
export function checkStockLayout(model: Model, start: PruningPlan): void {
  const pairs = adjacentBlocks(model).removals(emptyPlan)
  if (pairs.some((blocks) => isStockPlan(model, { ...start, blocks }))) return
  throw new PlanError(
    `--layout stock: without a layer ${model.id} is no stock checkpoint, because a norm stays in the stream or transformers has no ` +
      'class of its own for the family; take --output-norms drop where there is such a norm, or --layout any',
  )
}

/** How many of `rows` rows the search does not see. Throws `PlanError` when it would see none. */
export function checkRowCount(
  { checkRows, layout }: Pick<ResolvedSearch, 'checkRows' | 'layout'>,
  rows: number,
): number {
  const count = checkRows ?? (layout === 'stock' ? Math.floor(rows / 4) : 0)
  if (Number.isInteger(count) && count >= 0 && count < rows) return count
  throw new PlanError(
    `--check-rows ${count}: expected a whole number from 0 to ${rows - 1}, fewer than the ${rows} rows`,
  )
}

function nameOf<Name extends string>(option: string, given: string, names: readonly Name[]): Name {
  const found = names.find((name) => name === given)
  if (found !== undefined) return found
  throw new PlanError(`${option} ${given}: expected one of ${names.join(', ')}${suggestionFor(given, names)}`)
}
