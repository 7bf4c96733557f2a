import { applyPlan } from '../model/applyPlan.ts'
import type { StackTable } from '../model/architecture.ts'
import type { Model } from '../model/model.ts'
import { hasParallelBranches } from '../model/parallelBranches.ts'
import type { Block, BlockKind, PruningPlan, StackName } from '../types.ts'

/**
 * What software a pruned model needs.
 *
 * - `whole`: every surviving layer is complete; a stock checkpoint with fewer layers.
 * - `repacked`: the survivors still alternate attention, mlp, attention, mlp …, so an attention and the mlp after it make
 *   one stock layer though they come from two; a stock checkpoint as well.
 * - `custom`: any other set of blocks; needs code that leaves out single branches.
 *
 * A model without any block is `whole` with no layers: embedding, final norm and head.
 */
export type ExportForm = 'whole' | 'repacked' | 'custom'

/** The old layer of each block, or of the norm it left, in a new layer: `{ attention: 3, mlp: 4 }`. An absent kind has none. */
export type NewLayer = Readonly<Partial<Record<BlockKind, number>>>

export interface Layout {
  readonly form: ExportForm
  /** The new layers of each stack, as few as the order of the surviving blocks allows. */
  readonly stacks: Readonly<Partial<Record<StackName, readonly NewLayer[]>>>
}

/** How the blocks that `plan` keeps are packed into layers; widths have no say in it, but a block without units is gone. */
export function layoutOf(model: Model, plan: PruningPlan): Layout {
  const pruned = applyPlan(model, plan)
  const stacks: Partial<Record<StackName, readonly NewLayer[]>> = {}
  const forms: ExportForm[] = []
  for (const [stack, table] of Object.entries(model.architecture.stacks) as [StackName, StackTable][]) {
    const kinds = table.blocks.map((block) => block.kind)
    // the norm that a removed block of BERT leaves in the stream keeps its place, which no stock layer has
    const leavesNorms = pruned.bareNorms.some((norm) => norm.stack === stack)
    const place = (block: Block) => block.layer * kinds.length + kinds.indexOf(block.kind)
    const blocks = [...pruned.blocks, ...pruned.bareNorms]
      .filter((block) => block.stack === stack)
      .sort((a, b) => place(a) - place(b))
    const layers = packLayers(blocks, kinds, hasParallelBranches(model.config, table))
    stacks[stack] = layers
    forms.push(leavesNorms ? 'custom' : formOf(layers, kinds))
  }
  const needed = (form: ExportForm) => forms.includes(form)
  return { form: needed('custom') ? 'custom' : needed('repacked') ? 'repacked' : 'whole', stacks }
}

/** A custom layout with every block in the layer it came from; layers that lost all their blocks are there, and empty. */
export function layoutInPlace({ architecture, config, blocks, bareNorms }: Model): Layout {
  const stacks: Partial<Record<StackName, readonly NewLayer[]>> = {}
  for (const [stack, table] of Object.entries(architecture.stacks) as [StackName, StackTable][]) {
    const layers: Partial<Record<BlockKind, number>>[] = Array.from({ length: table.layers(config) }, () => ({}))
    for (const block of [...blocks, ...bareNorms]) {
      if (block.stack === stack) layers[block.layer]![block.kind] = block.layer
    }
    stacks[stack] = layers
  }
  return { form: 'custom', stacks }
}

/**
 * Blocks in forward order → the fewest layers. A block joins the open layer when its kind comes later in a layer than
 * those already there: every pair that may join is adjacent and no block is in two of them, so taking each is optimal.
 * Parallel branches read the same input, so only those of one layer may join.
 */
function packLayers(blocks: readonly Block[], kinds: readonly BlockKind[], isParallel: boolean): NewLayer[] {
  const layers: Partial<Record<BlockKind, number>>[] = []
  let open: { position: number; layer: number } | undefined
  for (const block of blocks) {
    const position = kinds.indexOf(block.kind)
    const joins = open !== undefined && position > open.position && (!isParallel || block.layer === open.layer)
    const target = joins ? layers.at(-1)! : {}
    if (!joins) layers.push(target)
    target[block.kind] = block.layer
    open = { position, layer: block.layer }
  }
  return layers
}

function formOf(layers: readonly NewLayer[], kinds: readonly BlockKind[]): ExportForm {
  if (layers.some((layer) => kinds.some((kind) => layer[kind] === undefined))) return 'custom'
  return layers.every((layer) => new Set(Object.values(layer)).size === 1) ? 'whole' : 'repacked'
}
