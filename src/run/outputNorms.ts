import { PlanError } from '../errors.ts'
import type { Model } from '../model/model.ts'
import { emptyPlan } from '../model/plan.ts'
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

/** The plan that removes nothing yet. It says what becomes of norms only where they are dropped. */
export function startOf(outputNorms: OutputNorms): PruningPlan {
  return outputNorms === 'drop' ? { ...emptyPlan, outputNorms } : emptyPlan
}
