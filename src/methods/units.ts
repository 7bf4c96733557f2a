import { PlanError } from '../errors.ts'
import { layersOf } from '../model/layers.ts'
import type { Model } from '../model/model.ts'
import { emptyPlan, remainingBlocks } from '../model/plan.ts'
import type { BlockId, BlockKind, PruningPlan } from '../types.ts'

/** What a method removes at once: one block, or all blocks of a layer. */
export type Unit = 'block' | 'layer'

/** The block groups of `model` that go together: single blocks of `kinds`, kind by kind, or layers in forward order. */
export function unitsOf(model: Model, unit: Unit, kinds: readonly BlockKind[]): BlockId[][] {
  if (unit === 'block') return remainingBlocks(model, emptyPlan, kinds).map(({ id }) => [id])
  return layersOf(model).map(({ blocks }) => blocks.map(({ id }) => id))
}

/** Throws `PlanError` when layers are asked for and only some of their blocks may go. */
export function checkWholeLayers(method: string, kinds: readonly BlockKind[]): void {
  if (kinds.includes('attention') && kinds.includes('mlp')) return
  throw new PlanError(
    `--kinds ${kinds.join(',')}: ${method} removes whole layers, expected attention,mlp; ` +
      'leave --kinds out, or take a method that removes blocks',
  )
}

/** `plan` with several blocks more. */
export function withoutBlocks(plan: PruningPlan, blocks: readonly BlockId[]): PruningPlan {
  return { ...plan, blocks: [...plan.blocks, ...blocks] }
}
