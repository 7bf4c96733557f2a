import type { BlockKind } from '../types.ts'
import type { Model } from './model.ts'

const allKinds: readonly BlockKind[] = ['attention', 'crossAttention', 'mlp']

/** The kinds of blocks that `model` has, in the order in which candidates are tried: attention first, mlp last. */
export function kindsOf({ blocks }: Model): BlockKind[] {
  return allKinds.filter((kind) => blocks.some((block) => block.kind === kind))
}
