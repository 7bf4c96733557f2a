import { PlanError } from '../errors.ts'
import { isStockPlan } from '../export/huggingface.ts'
import type { Model } from '../model/model.ts'
import { emptyPlan } from '../model/plan.ts'
import { suggestionFor } from '../nearestName.ts'
import { adjacentBlocks } from '../search/candidates.ts'
import { type PlanLayout, type SearchName, searchNames } from '../search/searchPlans.ts'
import type { BlockKind } from '../types.ts'
import { type OutputNorms, planWith } from './outputNorms.ts'

export const objectiveNames = ['perplexity', 'kl', 'js'] as const
export type ObjectiveName = (typeof objectiveNames)[number]

/** How BlockPruner's greedy loop is searched; absent options are the published loop. */
export interface SearchRequest {
  /** Default `exact`. */
  readonly search?: string | undefined
  /** Default `any`. */
  readonly layout?: string | undefined
  /** What the search compares plans by, the mean where there are several; default perplexity. */
  readonly objectives?: readonly string[] | undefined
  /** What `swap` and `evolve` improve on; default `fast`. */
  readonly start?: string | undefined
  readonly beamWidth?: number | undefined
  readonly generations?: number | undefined
  /** Exchanges in a row that improve nothing, after which a sweep of `swap` ends; default all. */
  readonly patience?: number | undefined
  /** Rows, of those asked for, that the search does not see; default 0, with a stock layout a quarter. */
  readonly checkRows?: number | undefined
}

export interface ResolvedSearch {
  readonly search: SearchName
  readonly layout: PlanLayout
  readonly objectives: readonly ObjectiveName[]
  readonly start: 'exact' | 'fast'
  readonly beamWidth: number | undefined
  readonly generations: number | undefined
  readonly patience: number | undefined
  readonly checkRows: number | undefined
  /** What plan.json records: nothing for the published loop. */
  readonly recorded: Readonly<Record<string, string | number | string[]>>
}

/** The request with its defaults. Throws `PlanError` for names that are none and for options that contradict each other. */
export function resolveSearch(
  request: SearchRequest,
  method: string,
  kinds: readonly BlockKind[] | undefined,
): ResolvedSearch {
  const search = nameOf('--search', request.search ?? 'exact', searchNames)
  const layout = nameOf('--layout', request.layout ?? 'any', ['any', 'stock'] as const)
  const start = nameOf('--start', request.start ?? 'fast', ['exact', 'fast'] as const)
  const objectives = (request.objectives ?? ['perplexity']).map((name) => nameOf('--objective', name, objectiveNames))
  const recorded = {
    ...(search !== 'exact' && { search }),
    ...(layout !== 'any' && { layout }),
    ...(objectives.join() !== 'perplexity' && { objective: objectives }),
    ...(request.start !== undefined && { start }),
    ...(request.beamWidth !== undefined && { beamWidth: request.beamWidth }),
    ...(request.generations !== undefined && { generations: request.generations }),
    ...(request.patience !== undefined && { patience: request.patience }),
    ...(request.checkRows !== undefined && { checkRows: request.checkRows }),
  }
  if (new Set(objectives).size < objectives.length) {
    throw new PlanError(`--objective ${objectives.join(',')}: names one objective twice; give each once`)
  }
  const foreign = Object.keys(recorded).filter((option) => option !== 'checkRows')
  if (method !== 'blockpruner' && foreign.length > 0) {
    const advice =
      method === 'finercut' ? '; for FinerCut by a fast search take --method blockpruner --objective js' : ''
    throw new PlanError(
      `--${flag(foreign[0]!)}: belongs to the search of blockpruner, found with --method ${method}; leave one of them out${advice}`,
    )
  }
  const needs = (option: 'start' | 'beamWidth' | 'generations' | 'patience', names: readonly SearchName[]) => {
    if (request[option] === undefined || names.includes(search)) return
    throw new PlanError(
      `--${flag(option)}: is an option of --search ${names.join(' and ')}, found with --search ${search}; leave one of them out`,
    )
  }
  needs('start', ['swap', 'evolve'])
  needs('beamWidth', ['beam'])
  needs('generations', ['evolve'])
  needs('patience', ['swap'])
  for (const option of ['beamWidth', 'generations', 'patience'] as const) {
    const value = request[option]
    if (value !== undefined && !(Number.isInteger(value) && value >= 1)) {
      throw new PlanError(`--${flag(option)} ${value}: expected a whole number from 1`)
    }
  }
  if (layout === 'stock' && kinds !== undefined && !(kinds.includes('attention') && kinds.includes('mlp'))) {
    throw new PlanError(
      `--kinds ${kinds.join(',')}: --layout stock removes attention and mlp together, expected attention,mlp; leave --kinds out`,
    )
  }
  const { beamWidth, generations, patience, checkRows } = request
  return { search, layout, objectives, start, beamWidth, generations, patience, checkRows, recorded }
}

/** Throws `PlanError` when no plan of `model` is a stock checkpoint. */
export function checkStockLayout(model: Model, outputNorms: OutputNorms): void {
  const pairs = adjacentBlocks(model).removals(emptyPlan)
  if (pairs.some((blocks) => isStockPlan(model, planWith(outputNorms, { blocks, units: {} })))) return
  throw new PlanError(
    `--layout stock: without a layer ${model.id} is no stock checkpoint, because a norm stays in the stream or transformers has no ` +
      'class of its own for the family; take --output-norms drop where there is such a norm, or --layout any',
  )
}

/** How many of `rows` rows the search does not see. Throws `PlanError` when it would see none. */
export function checkRowCount({ checkRows, layout }: ResolvedSearch, rows: number): number {
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

function flag(option: string): string {
  return option.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)
}
