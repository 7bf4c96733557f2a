import { PlanError } from '../errors.ts'
import { flagNameOf } from '../methods/options.ts'
import { kindsOf } from '../model/kinds.ts'
import type { Model } from '../model/model.ts'
import { emptyPlan, removedParameters } from '../model/plan.ts'
import type { BlockKind, PruningPlan } from '../types.ts'
import { cacheBytesPerToken, exportedBytes } from './cost.ts'
import { foretoldSpeedup, type PartSeconds } from './latency.ts'

/** Where removals stop beside a share that none of them meets: at the first plan beyond it, the last before it, or the nearer one. */
export const ratioRules = ['at-least', 'nearest', 'at-most'] as const
export type RatioRule = (typeof ratioRules)[number]

/** When a method has removed enough. */
export type Budget =
  /** Blocks. */
  | { readonly remove: number }
  /** Share of all parameters, 0..1. */
  | { readonly ratio: number; readonly ratioRule?: RatioRule | undefined }
  /** Megabytes (10⁶ bytes) that the tensors of the export may have. */
  | { readonly size: number }
  /** Bytes that the key/value cache may need for a token of context, at two bytes an element. */
  | { readonly kvBytes: number }
  /** How many times as fast as the dense model a pass must be on this machine. */
  | { readonly speedup: number }

/** The options of a run that say how much is removed: two runs that differ in nothing else share every evaluation. */
export const budgetOptions: readonly string[] = ['remove', 'ratio', 'ratioRule', 'size', 'kvBytes', 'speedup']

/** What is removed where nothing is asked for. */
export const defaultBudget = { ratio: 0.1 } as const satisfies Budget

/**
 * Throws `PlanError` when `budget` cannot be reached by removing blocks of `kinds` from `model`; how far a speed-up can be is
 * known only after the parts of the model were timed.
 */
export function checkBudget(model: Model, budget: Budget, kinds: readonly BlockKind[]): void {
  const blocks = model.blocks.filter(({ kind }) => kinds.includes(kind))
  if (blocks.length === 0 && model.blocks.length > 0) {
    throw new PlanError(
      `--kinds ${kinds.join(',')}: ${model.id} has no such blocks, expected some of ${kindsOf(model).join(', ')}`,
    )
  }
  const everything: PruningPlan = { blocks: blocks.map(({ id }) => id), units: {} }
  const whose = `blocks of ${model.id} of kind ${kinds.join(' or ')}`
  if ('remove' in budget) {
    if (!Number.isInteger(budget.remove) || budget.remove < 1 || budget.remove > blocks.length) {
      throw new PlanError(`--remove ${budget.remove}: expected a whole number from 1 to ${blocks.length}, the ${whose}`)
    }
  } else if ('ratio' in budget) {
    const most = blocks.reduce((total, { parameters }) => total + parameters, 0) / model.parameters
    if (!(budget.ratio > 0 && budget.ratio <= most)) {
      throw new PlanError(
        `--ratio ${budget.ratio}: expected more than 0 and at most ${most.toFixed(3)}, the share of the parameters of ${model.id} ` +
          `in blocks of kind ${kinds.join(' or ')}`,
      )
    }
  } else if ('size' in budget) {
    const [least, most] = [everything, emptyPlan].map((plan) => exportedBytes(model, plan) / 1e6) as [number, number]
    if (!(budget.size >= least && budget.size < most)) {
      throw new PlanError(
        `--size ${budget.size}: expected megabytes from ${least.toFixed(2)}, without any of the ${whose}, to less than ` +
          `${most.toFixed(2)}, with all of them`,
      )
    }
  } else if ('speedup' in budget) {
    if (!(budget.speedup > 1 && Number.isFinite(budget.speedup))) {
      throw new PlanError(
        `--speedup ${budget.speedup}: expected more than 1, how many times as fast as the dense model: 1.5 for two thirds of its time`,
      )
    }
  } else if (model.architecture.family === 'encoder') {
    throw new PlanError(
      `--kv-bytes ${budget.kvBytes}: ${model.id} is an encoder, which reads a text at once and keeps no keys and values; ask for --ratio, --remove or --size`,
    )
  } else {
    const [least, most] = [everything, emptyPlan].map((plan) => cacheBytesPerToken(model, plan)) as [number, number]
    if (!(budget.kvBytes >= least && budget.kvBytes < most)) {
      throw new PlanError(
        `--kv-bytes ${budget.kvBytes}: expected bytes for a token from ${least}, without any of the ${whose}, to less than ` +
          `${most}, with all of them`,
      )
    }
  }
}

/** Whether `plan` removes at least what `budget` asks for; a speed-up is judged by the seconds of `parts`. */
export function isReached(model: Model, plan: PruningPlan, budget: Budget, parts?: PartSeconds): boolean {
  if ('remove' in budget) return plan.blocks.length >= budget.remove
  if ('ratio' in budget) return removedParameters(model, plan) / model.parameters >= budget.ratio
  if ('speedup' in budget) {
    if (parts === undefined) throw new RangeError('a budget of speed needs the seconds of the parts')
    return foretoldSpeedup(model, parts, plan) >= budget.speedup
  }
  if ('size' in budget) return exportedBytes(model, plan) <= budget.size * 1e6
  return cacheBytesPerToken(model, plan) <= budget.kvBytes
}

/** Whether the step from `before` to `plan`, which reaches the budget, goes further than its rule allows. */
export function goesTooFar(model: Model, before: PruningPlan, plan: PruningPlan, budget: Budget): boolean {
  if (!('ratio' in budget)) return false
  const { ratio, ratioRule = 'at-least' } = budget
  const [under, over] = [before, plan].map((of) => removedParameters(model, of) / model.parameters) as [number, number]
  if (ratioRule === 'at-most') return over > ratio
  return ratioRule === 'nearest' && over - ratio > ratio - under
}

/** How much of what `budget` asks for `plan` removes, 0..1. */
export function reachedShare(model: Model, plan: PruningPlan, budget: Budget, parts?: PartSeconds): number {
  const between = (dense: number, now: number, target: number) => (dense - now) / (dense - target)
  const share = () => {
    if ('remove' in budget) return plan.blocks.length / budget.remove
    if ('ratio' in budget) return removedParameters(model, plan) / model.parameters / budget.ratio
    if ('size' in budget) return between(exportedBytes(model, emptyPlan), exportedBytes(model, plan), budget.size * 1e6)
    if ('kvBytes' in budget) {
      return between(cacheBytesPerToken(model, emptyPlan), cacheBytesPerToken(model, plan), budget.kvBytes)
    }
    return parts === undefined ? 0 : between(1, 1 / foretoldSpeedup(model, parts, plan), 1 / budget.speedup)
  }
  return Math.min(1, Math.max(0, share()))
}

/** `budget` as it was asked for on the command line. */
export function budgetFlag(budget: Budget): string {
  return Object.entries(budget)
    .filter(([, value]) => value !== undefined)
    .map(([name, value]) => `--${flagNameOf(name)} ${value}`)
    .join(' ')
}
