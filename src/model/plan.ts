import { PlanError } from '../errors.ts'
import type { BlockId, BlockKind, PruningPlan, StackName, WeightTable } from '../types.ts'
import type { Sizes } from './architecture.ts'
import { elementCount } from './axes.ts'
import type { DescribedBlock, Model } from './model.ts'
import { biasDigest, decodeBias, outputBiasesOf, outputRoles } from './outputBias.ts'

/** The plan that leaves nothing out. */
export const emptyPlan: PruningPlan = { blocks: [], units: {} }

/** `plan` with one block more. */
export function withoutBlock(plan: PruningPlan, block: BlockId): PruningPlan {
  return { ...plan, blocks: [...plan.blocks, block] }
}

/** Blocks that `plan` keeps, kind by kind in the order of `kinds`, in forward order within a kind. */
export function remainingBlocks(model: Model, plan: PruningPlan, kinds: readonly BlockKind[]): DescribedBlock[] {
  const removed = new Set(plan.blocks)
  return kinds.flatMap((kind) => model.blocks.filter((block) => block.kind === kind && !removed.has(block.id)))
}

/** A text that is equal for two plans exactly when they leave out the same structure, whatever the order. */
export function planKey(plan: PruningPlan): string {
  const units = removedUnits(plan)
    .filter(([, removed]) => removed.length > 0)
    .map(([id, removed]) => `${id}:${[...removed].sort((a, b) => a - b).join(',')}`)
  const norms = plan.outputNorms === 'drop' ? ['without norms'] : []
  return withBiasDigest([[...plan.blocks].sort().join(' '), ...units.sort(), ...norms].join('|'), biasDigest(plan))
}

/** The key of a plan with biases of this digest, from that of the plan without them. */
export function withBiasDigest(key: string, digest: string | undefined): string {
  return digest === undefined ? key : `${key}|biases ${digest}`
}

/** The removed units of `plan`, block by block. */
export function removedUnits(plan: PruningPlan): [BlockId, readonly number[]][] {
  return Object.entries(plan.units) as [BlockId, readonly number[]][]
}

/**
 * How many parameters fewer `model` has by the plan, the biases that the plan adds counted. What several blocks read, as the norm before parallel branches, goes
 * with the last of them.
 */
export function removedParameters(model: Model, plan: PruningPlan): number {
  const removed = new Set(plan.blocks)
  const left = ({ id, units }: DescribedBlock) => (removed.has(id) ? 0 : units - (plan.units[id]?.length ?? 0))
  const biased = new Set(outputBiasesOf(plan).map(([id]) => id))
  const added = model.blocks.filter(
    ({ id, kind, weights }) => biased.has(id) && !removed.has(id) && weights[outputRoles[kind].bias] === undefined,
  ).length
  const dense = tensorParameters(model, plan, ({ units }) => units)
  return dense - tensorParameters(model, plan, left) - added * (model.sizes['D'] ?? 0)
}

/** What `plan` leaves of the weights of a removed block: the norm behind it, unless it is dropped. */
export function leftOfRemoved(block: DescribedBlock, plan: PruningPlan): WeightTable {
  return plan.outputNorms === 'drop' ? {} : outputNormOf(block.weights)
}

/** Of the weights of a block those of the norm behind it, which belongs to the stream. */
export function outputNormOf(weights: WeightTable): WeightTable {
  return Object.fromEntries(Object.entries(weights).filter(([role]) => role.startsWith('outputNorm')))
}

/** Parameters of all blocks with `unitsLeft` units each, every tensor counted once; of one without units, what is left. */
function tensorParameters(model: Model, plan: PruningPlan, unitsLeft: (block: DescribedBlock) => number): number {
  const counts = new Map<string, number>()
  for (const block of model.blocks) {
    const sizes = blockSizes(model, block, unitsLeft(block))
    const weights = unitsLeft(block) === 0 ? leftOfRemoved(block, plan) : block.weights
    for (const [name, axes] of Object.values(weights)) counts.set(name, elementCount(axes, sizes))
  }
  for (const [name] of Object.values(model.outer)) counts.delete(name)
  return [...counts.values()].reduce((total, count) => total + count, 0)
}

/** Parameters of a block with `units` units left. */
export function parametersWithUnits(model: Model, block: DescribedBlock, units: number): number {
  if (units === 0) return 0
  const count = (size: number) => {
    const sizes = blockSizes(model, block, size)
    return Object.values(block.weights).reduce((total, [, axes]) => total + elementCount(axes, sizes), 0)
  }
  return block.parameters - count(block.units) + count(units)
}

/** Size of every shape letter in the weights of `block` when it has `units` units. */
export function blockSizes(model: Model, block: DescribedBlock, units: number = block.units): Sizes {
  return { ...stackSizes(model, block.stack), [block.table.unit]: units }
}

/** Size of every shape letter in the blocks of a stack that have lost nothing. */
export function stackSizes(
  { architecture, config, sizes }: Pick<Model, 'architecture' | 'config' | 'sizes'>,
  stack: StackName,
): Sizes {
  return { ...sizes, ...architecture.stacks[stack]?.sizes?.(config) }
}

/** Throws `PlanError` when `plan` names blocks or units that `model` does not have. */
export function checkPlan(model: Model, plan: PruningPlan): void {
  const blocks = new Map(model.blocks.map((block) => [block.id, block]))
  const removed = new Set<string>()
  for (const id of plan.blocks) {
    if (!blocks.has(id)) {
      const last = model.blocks.at(-1)?.id ?? 'none'
      throw new PlanError(
        `plan: block "${id}" is not in ${model.id}, whose last block is ${last}; is the plan another model's?`,
      )
    }
    if (removed.has(id)) throw new PlanError(`plan: block "${id}" is listed twice`)
    removed.add(id)
  }
  for (const [id, units] of removedUnits(plan)) {
    const block = blocks.get(id)
    if (block === undefined) throw new PlanError(`plan: units of "${id}", a block that ${model.id} does not have`)
    const seen = new Set(units)
    const outside = units.find((unit) => !Number.isInteger(unit) || unit < 0 || unit >= block.units)
    if (outside !== undefined) {
      throw new PlanError(`plan: unit ${outside} of ${id}, expected 0 to ${block.units - 1}`)
    }
    if (seen.size !== units.length) throw new PlanError(`plan: a unit of ${id} is listed twice`)
  }
  for (const [id, text] of outputBiasesOf(plan)) {
    const values = decodeBias(text)
    if (!blocks.has(id) || removed.has(id)) {
      throw new PlanError(`plan: an output bias of "${id}", a block that is not left of ${model.id}`)
    }
    if (values.length !== model.sizes['D'] || !values.every(Number.isFinite)) {
      throw new PlanError(
        `plan: the output bias of ${id} has ${values.length} numbers, expected D=${model.sizes['D']} finite ones; is the plan damaged?`,
      )
    }
  }
}
