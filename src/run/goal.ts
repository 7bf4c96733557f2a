import { PlanError } from '../errors.ts'
import type { Method } from '../methods/method.ts'
import type { MethodOptions } from '../methods/options.ts'
import { kindsOf } from '../model/kinds.ts'
import type { Model } from '../model/model.ts'
import { removedParameters } from '../model/plan.ts'
import type { PruningPlan } from '../types.ts'
import { type Budget, budgetFlag, checkBudget, defaultBudget, isReached, ratioRules } from './budget.ts'
import { defaultFormats } from './defaultFormats.ts'
import { checkFormats } from './formatChecks.ts'
import { checkOutputNorms, startOf } from './outputNorms.ts'
import { protectedBlocks } from './protection.ts'
import type { AnyPruneRequest } from './pruneRequest.ts'
import { checkStockLayout, type ResolvedSearch } from './searchRequest.ts'

/** What is to be removed, and from what. Throws `PlanError` where the model, the method or a format does not allow it. */
export async function goalOf(
  model: Model,
  method: Method,
  options: MethodOptions,
  searching: ResolvedSearch,
  request: AnyPruneRequest,
) {
  const { outputNorms = 'keep' } = request
  checkOutputNorms(model, outputNorms)
  const start = startOf(outputNorms)
  const kinds = request.kinds ?? kindsOf(model)
  const keep = protectedBlocks(model, request)
  const removable = method.removable({ model, start, kinds, keep }, options)
  const { budget: asked = defaultBudget } = request
  if (method.removesAll && request.budget !== undefined) {
    throw new PlanError(
      `${budgetFlag(request.budget as Budget)}: ${method.name} removes what it is told to; leave the budget out, or take another method`,
    )
  }
  checkRule(asked, method, searching)
  const isAll = method.removesAll === true || ('remove' in asked && asked.remove === 'all')
  const budget = isAll ? { remove: removable.length } : (asked as Budget)
  checkBudget(model, budget, kinds)
  const most: PruningPlan = { ...start, blocks: removable }
  if (!('speedup' in budget)) checkReach(model, budget, method, most)
  if (searching.layout === 'stock') checkStockLayout(model, start)
  if (request.export !== false) {
    const { layout } = searching
    const coming = { method, options, layout, start, most, isAll }
    await checkFormats(model, request.formats ?? defaultFormats(model), coming)
  }
  return { budget, kinds, keep, start, most }
}

/** Throws `PlanError` where blocks are to be timed on a device that is handed the next one while it computes one. */
export function checkTimed({ budget = defaultBudget, device = 'cpu', timer }: AnyPruneRequest): void {
  if (!('speedup' in budget) || device === 'cpu' || timer !== undefined) return
  throw new PlanError(
    `--speedup ${budget.speedup}: times block by block, which the CPU alone computes one after the other, found --device ${device}; ` +
      'take --device cpu, or another budget',
  )
}

/** Throws `PlanError` where a number of blocks is asked of a method that takes units out of them. */
export function checkCounts(
  budget: NonNullable<AnyPruneRequest['budget']>,
  method: Method,
  options: MethodOptions,
): void {
  const masks = method.masks?.(options) ?? []
  if (!('remove' in budget) || masks.length === 0 || masks.includes('blocks') || masks.includes('layers')) return
  throw new PlanError(
    `--remove ${budget.remove}: counts blocks, but ${method.name} removes ${masks.join(' and ')} inside them; ` +
      'ask for --ratio, --size, --kv-bytes or --speedup',
  )
}

/** Throws `PlanError` where a rule is asked of what is given the budget and keeps to it by itself. */
function checkRule(budget: NonNullable<AnyPruneRequest['budget']>, method: Method, searching: ResolvedSearch): void {
  const { ratioRule = 'at-least' } = 'ratio' in budget ? budget : {}
  if (!ratioRules.includes(ratioRule)) {
    throw new PlanError(`--ratio-rule ${ratioRule}: expected one of ${ratioRules.join(', ')}`)
  }
  const loop = searching.search ?? method
  if (ratioRule === 'at-least' || !(loop.endsItself || searching.layout === 'stock')) return
  const name = searching.layout === 'stock' ? '--layout stock' : loop.name
  throw new PlanError(`--ratio-rule ${ratioRule}: ${name} keeps to at least the ratio by itself; leave the rule out`)
}

/** Throws `PlanError` when `budget` is not reached by `most`, all that the method may remove. */
function checkReach(model: Model, budget: Budget, { name, note }: Method, most: PruningPlan): void {
  if (isReached(model, most, budget)) return
  const share = removedParameters(model, most) / model.parameters
  const why = note === undefined ? '' : ` (it ${note})`
  throw new PlanError(
    `${budgetFlag(budget)}: ${name} with these options can remove at most ${most.blocks.length} of the ${model.blocks.length} blocks of ` +
      `${model.id}, ${share.toFixed(3)} of its parameters${why}; ask for less, or take another method`,
  )
}
