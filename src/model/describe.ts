import { CheckpointError, UnsupportedModelError } from '../errors.ts'
import type { BlockId, ModelConfig, StackName, WeightStore, WeightTable } from '../types.ts'
import type { Architecture, BlockTable, Sizes } from './architecture.ts'
import { elementCount, shapeOf } from './axes.ts'
import { findArchitecture } from './families.ts'
import type { DescribedBlock, Model } from './model.ts'
import { outputRoles, withOutputBias } from './outputBias.ts'
import { inOwnWords } from './ownSpelling.ts'
import { outputNormOf, stackSizes } from './plan.ts'

/** What opening a checkpoint gives, whatever its format. */
export interface OpenedCheckpoint {
  readonly config: ModelConfig
  readonly weights: WeightStore
  readonly assets: Model['assets']
  /** Blocks of the family that this checkpoint does not have. */
  readonly absent?: readonly BlockId[]
  /** Units of the blocks that have another number of them than the config says; 0: only the norm behind the block is left. */
  readonly units?: Readonly<Partial<Record<BlockId, number>>>
  /** Heads of the dense model that narrower attentions have. */
  readonly heads?: Model['heads']
  /** A stored bias of an output matrix counts even where the family has none: a plan added it. */
  readonly addedBiases?: boolean
}

/**
 * The model that a checkpoint's config describes, its blocks listed and every weight's presence and shape checked.
 * Throws `UnsupportedModelError` or `CheckpointError` before any weight is read.
 */
export function describeModel(id: string, path: string, checkpoint: OpenedCheckpoint): Model {
  const { weights, assets, absent = [], units = {}, heads = {}, addedBiases = false } = checkpoint
  if (checkpoint.config['quantization_config'] != null) {
    throw new UnsupportedModelError(
      `${path}: config.json has a quantization_config, expected plain F32, F16 or BF16 weights; use the unquantised model`,
    )
  }
  const architecture = findArchitecture(checkpoint.config)
  const config = inOwnWords(architecture, checkpoint.config)
  const sizes = architecture.sizes(config)
  if (architecture.family === 'decoder') refuseOtherHeads(path, weights)
  const stored = storedNames(architecture, weights)
  const outer = spelledAsStored(
    architecture.outer(config, (name) => stored(name) !== undefined),
    stored,
  )
  const check = shapeChecker(path, weights)
  check(outer, sizes)
  const parts: Part[] = []
  for (const [stack, table] of Object.entries(architecture.stacks) as [
    StackName,
    (typeof architecture.stacks)['decoder'],
  ][]) {
    const layers = table?.layers(config) ?? 0
    const dense = stackSizes({ architecture, config, sizes }, stack)
    for (let layer = 0; layer < layers; layer++) {
      for (const blockTable of table?.blocks ?? []) {
        const blockId: BlockId = `${stack}.${layer}.${blockTable.kind}`
        if (absent.includes(blockId)) continue
        const isBareNorm = units[blockId] === 0
        const whole = blockTable.weights(config, layer)
        const own = spelledAsStored(nameLayer(isBareNorm ? outputNormOf(whole) : whole, layer), stored)
        const biased = withOutputBias(blockTable.kind, own)
        const [bias] = biased[outputRoles[blockTable.kind].bias] ?? []
        const named = addedBiases && weights.tensors.has(`${bias}`) ? biased : own
        const blockSizes = { ...dense, [blockTable.unit]: units[blockId] ?? dense[blockTable.unit]! }
        check(named, blockSizes)
        // a value of the config that no form describes fails here, not when the engine opens
        blockTable.form(config, layer)
        parts.push({ block: blockOf(stack, layer, blockTable, named, blockSizes), sizes: blockSizes })
      }
    }
    architecture.embedding(config, stack)
  }
  architecture.head(config, outer)
  const { own, all } = countParameters(outer, sizes, parts)
  const counted = parts.map(({ block }, i) => ({ ...block, parameters: own[i]! }))
  return {
    id,
    path,
    config,
    architecture,
    sizes,
    heads,
    blocks: counted.filter(({ units }) => units > 0),
    outer,
    weights,
    parameters: all,
    assets,
    bareNorms: counted.filter(({ units }) => units === 0),
    applied: [],
  }
}

/** With a tied head such a checkpoint would open as one that predicts the next token, and its export would lose the classifier. */
function refuseOtherHeads(path: string, { tensors }: WeightStore): void {
  const head = ['score.weight', 'classifier.weight', 'qa_outputs.weight'].find((name) => tensors.has(name))
  if (head === undefined) return
  throw new UnsupportedModelError(
    `${path}: tensor "${head}": a decoder with a classifier is not supported, expected one that predicts the next token (a ForCausalLM class)`,
  )
}

/** A block with the sizes of its own weights. */
interface Part {
  readonly block: DescribedBlock
  readonly sizes: Sizes
}

/**
 * Parameters of all tensors, each counted once, and of each block those that no other part of the model reads: a norm
 * before two parallel branches belongs to neither.
 */
function countParameters(outer: WeightTable, sizes: Sizes, parts: readonly Part[]): { own: number[]; all: number } {
  const readers = new Map<string, number>()
  const counts = new Map<string, number>()
  const tables = [{ weights: outer, sizes }, ...parts.map(({ block, sizes }) => ({ weights: block.weights, sizes }))]
  for (const table of tables) {
    for (const [name, axes] of Object.values(table.weights)) {
      readers.set(name, (readers.get(name) ?? 0) + 1)
      counts.set(name, elementCount(axes, table.sizes))
    }
  }
  const sum = (names: readonly string[]) => names.reduce((total, name) => total + counts.get(name)!, 0)
  const own = parts.map(({ block }) =>
    sum(
      Object.values(block.weights)
        .map(([name]) => name)
        .filter((name) => readers.get(name) === 1),
    ),
  )
  return { own, all: sum([...counts.keys()]) }
}

function blockOf(
  stack: StackName,
  layer: number,
  table: BlockTable,
  weights: WeightTable,
  sizes: Sizes,
): DescribedBlock {
  const id: BlockId = `${stack}.${layer}.${table.kind}`
  return { id, kind: table.kind, stack, layer, units: sizes[table.unit]!, parameters: 0, weights, table }
}

function nameLayer(table: WeightTable, layer: number): WeightTable {
  return Object.fromEntries(
    Object.entries(table).map(([role, [name, axes]]) => [role, [name.replace('{layer}', `${layer}`), axes]]),
  )
}

/** The name under which the checkpoint stores a tensor, undefined when it does not. */
type StoredName = (name: string) => string | undefined

/** Names of tables to names of the checkpoint: the same, or another spelling of the family. */
export function storedNames(architecture: Architecture, { tensors }: WeightStore): StoredName {
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
    for (const [role, [name, axes]] of Object.entries(table)) {
      const type = weights.unsupported?.get(name)
      if (type !== undefined) {
        throw new CheckpointError(
          `${path}: tensor "${name}" is stored as ${type}, expected F32, F16 or BF16; convert the checkpoint to bfloat16 or use its unquantised original`,
        )
      }
      const found = weights.tensors.get(name)
      if (found === undefined) {
        const cure = cureForMissing(role, name, [...weights.tensors.keys()])
        throw new CheckpointError(`${path}: tensor "${name}" is missing, expected [${shapeOf(axes, sizes)}]; ${cure}`)
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

function cureForMissing(role: string, name: string, stored: readonly string[]): string {
  const longer = stored.find((other) => other.endsWith(`.${name}`))
  if (longer !== undefined)
    return `the checkpoint calls it "${longer}": rename its tensors, or save the model anew with transformers`
  if (role === 'lmHead')
    return 'set "tie_word_embeddings" to true in config.json if its head is the embeddings; else, is the download complete?'
  return 'is config.json from another model?'
}
