import { PlanError } from '../errors.ts'
import { keptUnits } from '../model/axes.ts'
import type { Model } from '../model/model.ts'
import type { Block, BlockId, PruningPlan } from '../types.ts'

/** The shape letter whose size a width plan changes in `block`: `K` head groups or `F` channels. */
export function unitOf(model: Model, block: Block): 'K' | 'F' {
  const table = model.architecture.stacks[block.stack]?.blocks.find(({ kind }) => kind === block.kind)
  if (table === undefined) throw new RangeError(`${block.id}: the architecture of ${model.id} has no such block`)
  return table.unit
}

/** The units that stay, ascending, of every block that stays. Throws `PlanError` for a block left without units. */
export function widthsOf(model: Model, plan: PruningPlan): ReadonlyMap<BlockId, readonly number[]> {
  const removed = new Set(plan.blocks)
  const widths = new Map<BlockId, readonly number[]>()
  for (const block of model.blocks) {
    if (removed.has(block.id)) continue
    const kept = keptUnits(block.units, plan.units[block.id] ?? [])
    if (kept.length === 0) {
      throw new PlanError(
        `plan: ${block.id} keeps none of its ${block.units} units, expected at least 1; remove the block itself`,
      )
    }
    widths.set(block.id, kept)
  }
  return widths
}

/** The one width all blocks of a unit share, `undefined` where they differ or no block has the unit. */
export interface UniformWidths {
  readonly isUniform: boolean
  /** Key/value heads of every attention. */
  readonly K: number | undefined
  /** Channels of every mlp. */
  readonly F: number | undefined
}

/** Whether one width for all attentions and one for all mlps describes the pruned model. */
export function uniformWidths(model: Model, widths: ReadonlyMap<BlockId, readonly number[]>): UniformWidths {
  const found = { K: new Set<number>(), F: new Set<number>() }
  for (const block of model.blocks) {
    const kept = widths.get(block.id)
    if (kept !== undefined) found[unitOf(model, block)].add(kept.length)
  }
  const only = (sizes: ReadonlySet<number>) => (sizes.size === 1 ? [...sizes][0] : undefined)
  return { isUniform: found.K.size <= 1 && found.F.size <= 1, K: only(found.K), F: only(found.F) }
}
