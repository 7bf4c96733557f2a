import { PlanError } from '../errors.ts'
import { layersOf } from '../model/layers.ts'
import type { Model } from '../model/model.ts'
import { emptyPlan, parametersWithUnits } from '../model/plan.ts'
import type { BlockId, BlockKind, PruningPlan } from '../types.ts'
import type { LoopOptions, Scope } from './method.ts'

export type Granularity = 'heads' | 'channels' | 'blocks' | 'layers'

/** What one mask bit keeps or removes. */
export interface MaskUnit {
  readonly granularity: Granularity
  /** The blocks that go, or the one block that loses `index`. */
  readonly blocks: readonly BlockId[]
  /** Key/value head group or intermediate channel of the block; absent: the whole blocks go. */
  readonly index?: number
  /** Parameters of the unit. */
  readonly cost: number
}

/** All units of the granularities asked for that may go, in forward order within each. */
export function maskUnits(
  model: Model,
  granularities: readonly Granularity[],
  { start = emptyPlan, keep }: LoopOptions = {},
): MaskUnit[] {
  const stays = (id: BlockId) => keep?.has(id) || start.blocks.includes(id)
  return allUnits(model, granularities).filter(({ blocks }) => !blocks.some(stays))
}

function allUnits(model: Model, granularities: readonly Granularity[]): MaskUnit[] {
  return granularities.flatMap((granularity): MaskUnit[] => {
    if (granularity === 'layers') {
      return layersOf(model).map(({ blocks }) => ({
        granularity,
        blocks: blocks.map(({ id }) => id),
        cost: blocks.reduce((total, { parameters }) => total + parameters, 0),
      }))
    }
    if (granularity === 'blocks') {
      return model.blocks.map(({ id, parameters }) => ({ granularity, blocks: [id], cost: parameters }))
    }
    const letter = granularity === 'heads' ? 'K' : 'F'
    return model.blocks
      .filter((block) => block.table.unit === letter)
      .flatMap((block) => {
        const cost = (block.parameters - parametersWithUnits(model, block, 1)) / Math.max(1, block.units - 1)
        return Array.from({ length: block.units }, (_, index) => ({
          granularity,
          blocks: [block.id],
          index,
          cost: block.units === 1 ? block.parameters : cost,
        }))
      })
  })
}

/** `start` without the units whose bit in `kept` is 0 as well: a block that loses all its units goes as a whole. */
export function planOfMask(
  model: Model,
  units: readonly MaskUnit[],
  kept: ArrayLike<number>,
  start: PruningPlan = emptyPlan,
): PruningPlan {
  const gone = new Set<BlockId>()
  const lost = new Map<BlockId, number[]>()
  for (const [i, { blocks, index }] of units.entries()) {
    if (kept[i] !== 0) continue
    if (index === undefined) for (const id of blocks) gone.add(id)
    else {
      const indices = lost.get(blocks[0]!)
      if (indices === undefined) lost.set(blocks[0]!, [index])
      else indices.push(index)
    }
  }
  const remaining: Partial<Record<BlockId, readonly number[]>> = {}
  for (const { id, units: count } of model.blocks) {
    const indices = lost.get(id)
    if (indices === undefined || gone.has(id)) continue
    if (indices.length === count) gone.add(id)
    else remaining[id] = indices
  }
  const blocks = model.blocks.map(({ id }) => id).filter((id) => gone.has(id))
  return { ...start, blocks: [...start.blocks, ...blocks], units: { ...start.units, ...remaining } }
}

/**
 * The blocks that hold units of `granularities`: which of them may go is not a question of kinds of blocks. Throws `PlanError` where
 * one was asked.
 */
export function maskedBlocks(
  name: string,
  granularities: readonly Granularity[],
  { model, kinds, start, keep }: Scope,
): BlockId[] {
  if (!kinds.includes('attention') || !kinds.includes('mlp')) {
    throw new PlanError(
      `--kinds ${kinds.join(',')}: ${name} removes units inside blocks of both kinds; leave --kinds out, ` +
        'and choose by --units where the method has it',
    )
  }
  const areWhole = granularities.includes('blocks') || granularities.includes('layers')
  const holds = (kind: BlockKind) => areWhole || granularities.includes(kind === 'mlp' ? 'channels' : 'heads')
  const ids = model.blocks.filter(({ kind }) => holds(kind)).map(({ id }) => id)
  return ids.filter((id) => !keep.has(id) && !start.blocks.includes(id))
}
