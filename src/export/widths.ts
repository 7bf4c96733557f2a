import { applyPlan } from '../model/applyPlan.ts'
import type { Model } from '../model/model.ts'
import type { BlockId, PruningPlan, StackName } from '../types.ts'

/** Units left of every block that stays. */
export function widthsOf(model: Model, plan: PruningPlan): ReadonlyMap<BlockId, number> {
  return new Map(applyPlan(model, plan).blocks.map((block) => [block.id, block.units]))
}

/** The one width that blocks of a unit share, `undefined` where they differ or no block has the unit. */
export interface StackWidths {
  /** Key/value heads of every attention. */
  readonly K: number | undefined
  /** Channels of every mlp. */
  readonly F: number | undefined
}

export interface UniformWidths {
  /** In each stack one width for all attentions and one for all mlps describe the model. */
  readonly isUniform: boolean
  readonly stacks: Readonly<Partial<Record<StackName, StackWidths>>>
}

/** The widths that all blocks of a stack with an entry in `widths` have in common. */
export function uniformWidths(model: Model, widths: ReadonlyMap<BlockId, number>): UniformWidths {
  const only = (sizes: ReadonlySet<number>) => (sizes.size === 1 ? [...sizes][0] : undefined)
  const stacks: Partial<Record<StackName, StackWidths>> = {}
  let isUniform = true
  for (const stack of Object.keys(model.architecture.stacks) as StackName[]) {
    const found = { K: new Set<number>(), F: new Set<number>() }
    for (const block of model.blocks.filter((each) => each.stack === stack)) {
      const units = widths.get(block.id)
      if (units !== undefined) found[block.table.unit].add(units)
    }
    isUniform &&= found.K.size <= 1 && found.F.size <= 1
    stacks[stack] = { K: only(found.K), F: only(found.F) }
  }
  return { isUniform, stacks }
}
