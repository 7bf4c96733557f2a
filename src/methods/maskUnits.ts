import { layersOf } from '../model/layers.ts'
import type { Model } from '../model/model.ts'
import { emptyPlan, parametersWithUnits, unitOf } from '../model/plan.ts'
import type { BlockId, PruningPlan } from '../types.ts'

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

/** All units of the granularities asked for, in forward order within each. */
export function maskUnits(model: Model, granularities: readonly Granularity[]): MaskUnit[] {
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
      .filter((block) => unitOf(model, block) === letter)
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

/** The plan without the units whose bit in `kept` is 0: a block that loses all its units goes as a whole. */
export function planOfMask(model: Model, units: readonly MaskUnit[], kept: ArrayLike<number>): PruningPlan {
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
  return { ...emptyPlan, blocks: model.blocks.map(({ id }) => id).filter((id) => gone.has(id)), units: remaining }
}
