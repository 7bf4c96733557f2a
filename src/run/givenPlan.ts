import { PlanError } from '../errors.ts'
import { blocksNamed } from '../model/blockList.ts'
import { contentHash } from '../model/contentHash.ts'
import type { Model } from '../model/model.ts'
import { checkPlan, emptyPlan } from '../model/plan.ts'
import type { BlockId, PruningPlan } from '../types.ts'
import { type HandPlan, type PlanFile, readPlan } from './planFile.ts'

/** What `--plan` names, read and not yet held against a model. */
export type PlanSource =
  | { readonly path: string; readonly file: PlanFile; readonly hand?: undefined }
  | { readonly path: string; readonly file?: undefined; readonly hand: HandPlan }

export interface PlanChoice {
  /** Use the first steps only. */
  readonly steps?: number | undefined
  /** Take a plan that was made for other weights. */
  readonly allowOtherModel?: boolean | undefined
}

/** Reads what `--plan` names: the plan of a run, its folder, or blocks written by hand. Throws `PlanError`. */
export async function openPlan(path: string): Promise<PlanSource> {
  return { path, ...(await readPlan(path)) }
}

/** The plan for `model`. Throws `PlanError` where the plan is another model's, or has fewer steps. */
export async function planFor(model: Model, source: PlanSource, choice: PlanChoice): Promise<PruningPlan> {
  const { path, file, hand } = source
  if (file !== undefined && choice.allowOtherModel !== true) await checkSameModel(model, file, path)
  const plan = file === undefined ? planOfHand(model, hand, path, choice.steps) : planOfSteps(file, choice.steps)
  checkPlan(model, plan)
  return plan
}

function planOfHand(model: Model, hand: HandPlan, path: string, steps: number | undefined): PruningPlan {
  if (steps === 0) return emptyPlan
  if (steps !== undefined) {
    throw new PlanError(`--steps ${steps}: ${path} was written by hand and has no steps; leave --steps out`)
  }
  const { units = {}, outputNorms } = hand
  const blocks = hand.blocks.length === 0 ? [] : blocksNamed(model, hand.blocks, `${path}: blocks`)
  return { blocks, units: units as PruningPlan['units'], ...(outputNorms && { outputNorms }) }
}

/** Throws `PlanError` when `file` was made for weights other than `model`'s. */
export async function checkSameModel(model: Model, file: PlanFile, path: string): Promise<void> {
  const found = await contentHash(model)
  if (found === file.model.sha256) return
  throw new PlanError(
    `${path}: was made for ${file.model.id} (sha256 ${file.model.sha256.slice(0, 12)}…), but ${model.id} is another model ` +
      `(sha256 ${found.slice(0, 12)}…); give the model of the plan, or --allow-other-model if it is the same in another format`,
  )
}

/** The plan after the first `steps` steps of `file`, the whole model for 0, after all when undefined. */
export function planOfSteps(file: PlanFile, steps: number | undefined): PruningPlan {
  if (steps === undefined || steps === file.steps.length) return file.plan as PruningPlan
  if (steps === 0) return emptyPlan
  if (!Number.isInteger(steps) || steps < 0 || steps > file.steps.length) {
    throw new PlanError(
      `--steps ${steps}: expected a whole number from 0 to ${file.steps.length}, the steps of the plan`,
    )
  }
  if (Object.keys(file.plan.units).length > 0) {
    throw new PlanError(
      `--steps ${steps}: the steps of ${file.method} removed units inside blocks, of which the plan holds the last state only; leave --steps out`,
    )
  }
  let blocks: BlockId[] = []
  for (const { removed, restored = [] } of file.steps.slice(0, steps)) {
    blocks = [...blocks, ...removed].filter((id) => !restored.includes(id))
  }
  const { outputNorms } = file.plan
  return { blocks, units: {}, ...(outputNorms && { outputNorms }) }
}
