import type { Block, StackName } from '../types.ts'
import type { Model } from './model.ts'

/** The blocks between two layer numbers of a stack. */
export interface Layer {
  readonly stack: StackName
  readonly layer: number
  readonly blocks: readonly Block[]
}

/** The layers of `model` that have a block left, in forward order. */
export function layersOf(model: Model): Layer[] {
  const layers = new Map<string, Block[]>()
  for (const block of model.blocks) {
    const key = `${block.stack}.${block.layer}`
    const blocks = layers.get(key)
    if (blocks === undefined) layers.set(key, [block])
    else blocks.push(block)
  }
  return [...layers.values()].map((blocks) => ({ stack: blocks[0]!.stack, layer: blocks[0]!.layer, blocks }))
}

/** How many layers each stack has, those without a block included. */
export function layerCounts({ architecture, config }: Model): Partial<Record<StackName, number>> {
  return Object.fromEntries(Object.entries(architecture.stacks).map(([stack, table]) => [stack, table.layers(config)]))
}
