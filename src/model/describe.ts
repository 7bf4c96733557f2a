import { CheckpointError, UnsupportedModelError } from '../errors.ts'
import type { Block, BlockId, ModelConfig, StackName, WeightStore, WeightTable } from '../types.ts'
import type { Architecture, BlockTable, Sizes } from './architecture.ts'
import { findArchitecture } from './architectures/known.ts'
import { elementCount, shapeOf } from './axes.ts'
import type { Model } from './model.ts'

/** What opening a checkpoint gives, whatever its format. */
export interface OpenedCheckpoint {
  readonly config: ModelConfig
  readonly weights: WeightStore
  readonly assets: Model['assets']
}

/**
 * The model that a checkpoint's config describes, its blocks listed and every weight's presence and shape checked.
 * Throws `UnsupportedModelError` or `CheckpointError` before any weight is read.
 */
export function describeModel(id: string, path: string, { config, weights, assets }: OpenedCheckpoint): Model {
  if (config['quantization_config'] != null) {
    throw new UnsupportedModelError(
      `${path}: config.json has a quantization_config, expected plain F32, F16 or BF16 weights; use the unquantised model`,
    )
  }
  const architecture = findArchitecture(config)
  const sizes = architecture.sizes(config)
  const stored = storedNames(architecture, weights)
  const outer = spelledAsStored(
    architecture.outer(config, (name) => stored(name) !== undefined),
    stored,
  )
  const check = shapeChecker(path, weights)
  let parameters = check(outer, sizes)
  const blocks: Block[] = []
  for (const [stack, table] of Object.entries(architecture.stacks) as [
    StackName,
    (typeof architecture.stacks)['decoder'],
  ][]) {
    const layers = table?.layers(config) ?? 0
    for (let layer = 0; layer < layers; layer++) {
      for (const blockTable of table?.blocks ?? []) {
        const named = spelledAsStored(nameLayer(blockTable.weights(config), layer), stored)
        const count = check(named, sizes)
        blocks.push(blockOf(stack, layer, blockTable, named, count, sizes))
        parameters += count
      }
    }
  }
  return { id, path, config, architecture, sizes, blocks, outer, weights, parameters, assets, applied: [] }
}

function blockOf(
  stack: StackName,
  layer: number,
  table: BlockTable,
  weights: WeightTable,
  parameters: number,
  sizes: Sizes,
): Block {
  const id: BlockId = `${stack}.${layer}.${table.kind}`
  return { id, kind: table.kind, stack, layer, units: sizes[table.unit]!, parameters, weights }
}

function nameLayer(table: WeightTable, layer: number): WeightTable {
  return Object.fromEntries(
    Object.entries(table).map(([role, [name, axes]]) => [role, [name.replace('{layer}', `${layer}`), axes]]),
  )
}

/** The name under which the checkpoint stores a tensor, undefined when it does not. */
type StoredName = (name: string) => string | undefined

function storedNames(architecture: Architecture, { tensors }: WeightStore): StoredName {
  return (name) => {
    if (tensors.has(name)) return name
    return architecture.spellings?.(name).find((spelling) => tensors.has(spelling))
  }
}

/** A missing tensor keeps its first name, for the message of the check that follows. */
function spelledAsStored(table: WeightTable, stored: StoredName): WeightTable {
  return Object.fromEntries(Object.entries(table).map(([role, [name, axes]]) => [role, [stored(name) ?? name, axes]]))
}

/** Checks a table's tensors against the store and counts their parameters. */
function shapeChecker(path: string, weights: WeightStore) {
  return (table: WeightTable, sizes: Sizes): number => {
    let parameters = 0
    for (const [name, axes] of Object.values(table)) {
      const found = weights.tensors.get(name)
      if (found === undefined) {
        throw new CheckpointError(
          `${path}: tensor "${name}" is missing, expected [${shapeOf(axes, sizes)}]; is config.json from another model?`,
        )
      }
      const expected = shapeOf(axes, sizes)
      if (found.shape.length !== expected.length || found.shape.some((size, i) => size !== expected[i])) {
        const letters = [...new Set(axes.match(/[A-Z]/g))].map((letter) => `${letter}=${sizes[letter]}`)
        throw new CheckpointError(
          `${path}: tensor "${name}" has shape [${found.shape.join(', ')}], expected [${expected.join(', ')}] ` +
            `(${axes}, ${letters.join(', ')}); is config.json from another model?`,
        )
      }
      parameters += elementCount(axes, sizes)
    }
    return parameters
  }
}
