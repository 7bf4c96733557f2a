import { PlanError } from '../errors.ts'
import type { Model } from '../model/model.ts'
import { removedParameters } from '../model/plan.ts'
import type { BlockKind, PruningPlan } from '../types.ts'

/** When a method has removed enough. */
export type Budget =
  /** Blocks. */
  | { readonly remove: number }
  /** Share of all parameters, 0..1. */
  | { readonly ratio: number }

/** Throws `PlanError` when `budget` cannot be reached by removing blocks of `kinds` from `model`. */
export function checkBudget(model: Model, budget: Budget, kinds: readonly BlockKind[]): void {
  const blocks = model.blocks.filter(({ kind }) => kinds.includes(kind))
  if ('remove' in budget) {
    if (!Number.isInteger(budget.remove) || budget.remove < 1 || budget.remove > blocks.length) {
      throw new PlanError(
        `--remove ${budget.remove}: expected a whole number from 1 to ${blocks.length}, the blocks of ${model.id} of kind ${kinds.join(' or ')}`,
      )
    }
    return
  }
  const most = blocks.reduce((total, { parameters }) => total + parameters, 0) / model.parameters
  if (!(budget.ratio > 0 && budget.ratio <= most)) {
    throw new PlanError(
      `--ratio ${budget.ratio}: expected more than 0 and at most ${most.toFixed(3)}, the share of the parameters of ${model.id} ` +
        `in blocks of kind ${kinds.join(' or ')}`,
    )
  }
}

/** Whether `plan` removes at least what `budget` asks for. */
export function isReached(model: Model, plan: PruningPlan, budget: Budget): boolean {
  if ('remove' in budget) return plan.blocks.length >= budget.remove
  return removedParameters(model, plan) / model.parameters >= budget.ratio
}
