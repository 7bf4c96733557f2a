import { PlanError } from '../errors.ts'
import type { Engine } from '../measures/measurement.ts'
import type { Model } from '../model/model.ts'
import type { PruningPlan } from '../types.ts'

/** What becomes of the norm behind a removed branch, see `PruningPlan`. */
export type OutputNorms = NonNullable<PruningPlan['outputNorms']>

/** Throws `PlanError` where `model` has no norm that could be dropped. */
export function checkOutputNorms(model: Model, outputNorms: OutputNorms): void {
  const roles = model.blocks.flatMap(({ weights }) => Object.keys(weights))
  if (outputNorms === 'keep' || roles.some((role) => role.startsWith('outputNorm'))) return
  throw new PlanError(
    `--output-norms drop: no branch of ${model.id} has a norm behind it in the stream, as those of BERT and BART have; leave it out`,
  )
}

/** `plan` with its norms kept or dropped. A plan says so only where they are dropped. */
export function planWith(outputNorms: OutputNorms, plan: PruningPlan): PruningPlan {
  return outputNorms === 'drop' ? { ...plan, outputNorms } : plan
}

/** `engine` for methods that say which blocks go and leave to the run what becomes of the norms behind them. */
export function engineWith(outputNorms: OutputNorms, engine: Engine): Engine {
  if (outputNorms === 'keep') return engine
  const one = (plan: PruningPlan) => planWith(outputNorms, plan)
  return {
    ...engine,
    measure: (what, how) =>
      engine.measure({ ...what, plans: what.plans.map(one), prefix: what.prefix && one(what.prefix) }, how),
  }
}
