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
  /** Blocks of the family that this checkpoint does not have. */
  readonly absent?: readonly BlockId[]
  /** Units of the blocks that have another number of them than the config says. */
  readonly units?: Readonly<Partial<Record<BlockId, number>>>
}

/**
 * The model that a checkpoint's config describes, its blocks listed and every weight's presence and shape checked.
 * Throws `UnsupportedModelError` or `CheckpointError` before any weight is read.
 */
export function describeModel(id: string, path: string, checkpoint: OpenedCheckpoint): Model {
  const { config, weights, assets, absent = [], units = {} } = checkpoint
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
  check(outer, sizes)
  const blocks: Block[] = []
  for (const [stack, table] of Object.entries(architecture.stacks) as [
    StackName,
    (typeof architecture.stacks)['decoder'],
  ][]) {
    const layers = table?.layers(config) ?? 0
    for (let layer = 0; layer < layers; layer++) {
      for (const blockTable of table?.blocks ?? []) {
        const blockId: BlockId = `${stack}.${layer}.${blockTable.kind}`
        if (absent.includes(blockId)) continue
        const named = spelledAsStored(nameLayer(blockTable.weights(config), layer), stored)
        const blockSizes = { ...sizes, [blockTable.unit]: units[blockId] ?? sizes[blockTable.unit]! }
        check(named, blockSizes)
        // a value of the config that no form describes fails here, not when the engine opens
        blockTable.form(config, layer)
        blocks.push(blockOf(stack, layer, blockTable, named, blockSizes))
      }
    }
    architecture.embedding(config, stack)
  }
  architecture.head(config, outer)
  const { own, all } = countParameters(outer, blocks, sizes)
  const counted = blocks.map((block, i) => ({ ...block, parameters: own[i]! }))
  return {
    id,
    path,
    config,
    architecture,
    sizes,
    blocks: counted,
    outer,
    weights,
    parameters: all,
    assets,
    bareNorms: [],
    applied: [],
  }
}

/**
 * Parameters of all tensors, each counted once, and of each block those that no other part of the model reads: a norm
 * before two parallel branches belongs to neither.
 */
function countParameters(outer: WeightTable, blocks: readonly Block[], sizes: Sizes): { own: number[]; all: number } {
  const tables = [outer, ...blocks.map(({ weights }) => weights)]
  const readers = new Map<string, number>()
  const counts = new Map<string, number>()
  for (const [name, axes] of tables.flatMap((table) => Object.values(table))) {
    readers.set(name, (readers.get(name) ?? 0) + 1)
    counts.set(name, elementCount(axes, sizes))
  }
  const sum = (names: readonly string[]) => names.reduce((total, name) => total + counts.get(name)!, 0)
  const own = blocks.map(({ weights }) =>
    sum(
      Object.values(weights)
        .map(([name]) => name)
        .filter((name) => readers.get(name) === 1),
    ),
  )
  return { own, all: sum([...counts.keys()]) }
}

function blockOf(stack: StackName, layer: number, table: BlockTable, weights: WeightTable, sizes: Sizes): Block {
  const id: BlockId = `${stack}.${layer}.${table.kind}`
  return { id, kind: table.kind, stack, layer, units: sizes[table.unit]!, parameters: 0, weights }
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

/** Checks a table's tensors against the store. */
function shapeChecker(path: string, weights: WeightStore) {
  return (table: WeightTable, sizes: Sizes): void => {
    for (const [name, axes] of Object.values(table)) {
      const type = weights.unsupported?.get(name)
      if (type !== undefined) {
        throw new CheckpointError(
          `${path}: tensor "${name}" is stored as ${type}, expected F32, F16 or BF16; convert the checkpoint to bfloat16 or use its unquantised original`,
        )
      }
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
    }
  }
}
