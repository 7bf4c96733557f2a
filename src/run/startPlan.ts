import { createHash } from 'node:crypto'
import { PlanError } from '../errors.ts'
import { isPlanPath } from '../methods/options.ts'
import type { Model } from '../model/model.ts'
import { removedParameters } from '../model/plan.ts'
import type { PruningPlan } from '../types.ts'
import { type Budget, budgetFlag, isReached } from './budget.ts'
import { openPlan, planFor } from './givenPlan.ts'
import { startOf } from './outputNorms.ts'
import type { AnyPruneRequest } from './pruneRequest.ts'
import type { ResolvedSearch } from './searchRequest.ts'

/**
 * The plan that a search is told to improve; undefined where it makes its own. Throws `PlanError` for a plan that does not fit the model,
 * and for what no search of blocks can go on from.
 */
export async function readPlanToImprove(
  model: Model,
  { options: { start: path }, layout }: ResolvedSearch,
  { outputNorms = 'keep' }: Pick<AnyPruneRequest, 'outputNorms'>,
): Promise<PruningPlan | undefined> {
  if (typeof path !== 'string' || !isPlanPath(path)) return undefined
  const plan = await planFor(model, await openPlan(path), {})
  const refused = (why: string) => new PlanError(`--start ${path}: ${why}`)
  if (Object.keys(plan.units).length > 0) {
    throw refused('removes units inside blocks, expected a plan of whole blocks; take another plan')
  }
  if (plan.blocks.length === 0) throw refused('removes nothing, expected at least a block; leave --start out')
  if ((plan.outputNorms ?? 'keep') !== outputNorms) {
    throw refused(
      `has output norms ${plan.outputNorms ?? 'keep'}, found --output-norms ${outputNorms}; ask for the same`,
    )
  }
  if (layout === 'stock') throw refused('is not for --layout stock, which makes its own plans; leave one of them out')
  return { ...startOf(outputNorms), blocks: plan.blocks }
}

/** What a run that improves `plan` has to remove where nothing is asked for: as much as it does. */
export function budgetOfPlan(model: Model, plan: PruningPlan): Budget {
  return { ratio: removedParameters(model, plan) / model.parameters }
}

/** Throws `PlanError` where `plan` removes what has to stay, or less than the budget. */
export function checkPlanToImprove(
  model: Model,
  plan: PruningPlan,
  { budget, most }: { readonly budget: Budget; readonly most: PruningPlan },
): void {
  const kept = plan.blocks.find((id) => !most.blocks.includes(id))
  if (kept !== undefined) {
    throw new PlanError(`--start: its plan removes ${kept}, which is to stay; take another plan, or let that block go`)
  }
  if ('speedup' in budget) {
    throw new PlanError(`${budgetFlag(budget)}: is timed after --start was read; ask for --ratio, --remove or --size`)
  }
  if (isReached(model, plan, budget)) return
  const share = removedParameters(model, plan) / model.parameters
  throw new PlanError(
    `${budgetFlag(budget)}: the plan of --start removes ${plan.blocks.length} blocks, ${share.toFixed(4)} of the parameters, expected at least ` +
      'the budget; leave the budget out, or begin with a larger plan',
  )
}

/** What plan.json says of the plan: its blocks in their order, wherever the file was. */
export function recordedStart(plan: PruningPlan): string {
  return `plan ${createHash('sha256').update(plan.blocks.join()).digest('hex').slice(0, 16)}`
}
