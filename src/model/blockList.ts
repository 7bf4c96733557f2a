import { PlanError } from '../errors.ts'
import type { Block, BlockId } from '../types.ts'
import { layerCounts } from './layers.ts'
import type { Model } from './model.ts'

/** The parts of a list of blocks written as `decoder.3,decoder.7.mlp`; blanks around a part do not count. */
export function partsOfList(text: string): string[] {
  return text.split(',').map((part) => part.trim())
}

/**
 * The blocks of `model` that `parts` name, in the order named and each once: `decoder.7.mlp` one block, `decoder.3` all blocks of a
 * layer, `decoder.20-24` all of layers 20 to 24, `decoder.20-24.mlp` those of one kind. `subject` is who asked, an option or a file.
 * Throws `PlanError` for a part that is written otherwise, names what the model does not have, or names nothing.
 */
export function blocksNamed(model: Model, parts: readonly string[], subject: string): BlockId[] {
  const named = parts.flatMap((part) => blocksOfPart(model, part, subject).map(({ id }) => id))
  if (named.length > 0) return [...new Set(named)]
  throw new PlanError(`${subject}: names no block, expected a list such as ${exampleOf(model)}`)
}

/** stack . first layer [- last layer] [. kind] */
const syntax = /^([a-z]+)\.(\d+)(?:-(\d+))?(?:\.([a-z]+))?$/i

function blocksOfPart(model: Model, part: string, subject: string): Block[] {
  const found = syntax.exec(part)
  if (found === null) {
    throw new PlanError(
      `${subject}: "${part}" is no block, expected a layer, a block or a range of layers, as in ${exampleOf(model)}`,
    )
  }
  const [, stack, first, last = first, kind] = found as unknown as [string, string, string, string?, string?]
  const [from, to] = [Number(first), Number(last)]
  const counts = layerCounts(model) as Readonly<Record<string, number>>
  const layers = Object.hasOwn(counts, stack) ? counts[stack]! : 0
  if (layers === 0) {
    const stacks = Object.keys(counts).filter((name) => counts[name]! > 0)
    throw new PlanError(`${subject}: "${part}" names the stack "${stack}", but ${model.id} has ${stacks.join(' and ')}`)
  }
  if (from > to) {
    throw new PlanError(
      `${subject}: "${part}" ends before it begins, expected the lower layer first: ${stack}.${to}-${from}`,
    )
  }
  if (to >= layers) {
    throw new PlanError(
      `${subject}: "${part}" names layer ${to}, but the ${stack} of ${model.id} has layers 0 to ${layers - 1}`,
    )
  }
  const there = model.blocks.filter((block) => block.stack === stack && block.layer >= from && block.layer <= to)
  const blocks = kind === undefined ? there : there.filter((block) => block.kind === kind)
  if (blocks.length > 0) return blocks
  const kinds = [...new Set((there.length > 0 ? there : model.blocks).map((block) => block.kind))]
  throw new PlanError(
    `${subject}: "${part}" names no block that ${model.id} has; ${there.length > 0 ? `its kinds there are ${kinds.join(', ')}` : 'its layers there are empty'}`,
  )
}

/** Parts of all three kinds, out of what `model` has. */
function exampleOf({ blocks }: Model): string {
  const last = blocks.at(-1)
  if (last === undefined) return 'decoder.3'
  return `${last.stack}.${last.layer},${last.id},${last.stack}.${Math.max(0, last.layer - 1)}-${last.layer}`
}
