import { PlanError } from '../errors.ts'
import { blocksNamed } from '../model/blockList.ts'
import { layersOf } from '../model/layers.ts'
import type { Model } from '../model/model.ts'
import type { BlockId } from '../types.ts'

/** What must stay in the model, whatever a method thinks of it. */
export interface Protection {
  /** Blocks, layers and ranges of layers: `decoder.7.mlp`, `decoder.3`, `decoder.20-24`. */
  readonly keepBlocks?: readonly string[] | undefined
  /** The first layers of each stack. */
  readonly keepFirst?: number | undefined
  /** The last layers of each stack. */
  readonly keepLast?: number | undefined
}

/** The blocks that stay. Throws `PlanError` for names that the model does not have and counts that are none. */
export function protectedBlocks(model: Model, { keepBlocks, keepFirst = 0, keepLast = 0 }: Protection): Set<BlockId> {
  for (const [flag, count] of [
    ['--keep-first', keepFirst],
    ['--keep-last', keepLast],
  ] as const) {
    if (!Number.isInteger(count) || count < 0) throw new PlanError(`${flag} ${count}: expected a whole number from 0`)
  }
  const layers = layersOf(model)
  const outer = [...new Set(layers.map(({ stack }) => stack))].flatMap((stack) => {
    const own = layers.filter((layer) => layer.stack === stack)
    return [...own.slice(0, keepFirst), ...(keepLast === 0 ? [] : own.slice(-keepLast))]
  })
  const named = keepBlocks === undefined ? [] : blocksNamed(model, keepBlocks, '--keep-blocks')
  return new Set([...named, ...outer.flatMap(({ blocks }) => blocks.map(({ id }) => id))])
}

/** What plan.json records of it. */
export function recordedProtection({ keepBlocks, keepFirst, keepLast }: Protection) {
  return {
    ...(keepBlocks !== undefined && { keepBlocks: [...keepBlocks] }),
    ...(keepFirst !== undefined && { keepFirst }),
    ...(keepLast !== undefined && { keepLast }),
  }
}
