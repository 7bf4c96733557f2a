import type { StackName } from '../types.ts'
import { objectOf } from './configValue.ts'
import type { Model } from './model.ts'
import { ropeScalingIn } from './rope.ts'

/**
 * Tokens of the longest row that the model was trained on, or stretched to by its scaling, where a longer row runs but its positions are
 * none that the weights know: rotary ones and sines. Undefined where any length is as good (ALiBi, T5, dynamic scaling), where config.json
 * does not say, and for learned positions, of which there are no more than the table has.
 */
export function trainedPositions({ architecture, config, blocks }: Model): number | undefined {
  const ropes = blocks.flatMap(({ layer, table }) => {
    const form = table.form(config, layer)
    return 'positions' in form && form.positions.type === 'rotary' ? [form.positions.rope] : []
  })
  const stacks = Object.keys(architecture.stacks) as StackName[]
  const hasSines = stacks.some((stack) => architecture.embedding(config, stack).sinusoids !== undefined)
  if ((ropes.length === 0 && !hasSines) || ropes.some(({ dynamic }) => dynamic !== undefined)) return undefined
  const longest = config['max_position_embeddings']
  if (typeof longest !== 'number') return undefined
  // where scaling was added by hand, the longest row may be said as it was before
  const said = ropeScalingIn(config)
  const { original_max_position_embeddings: original, factor } = objectOf(said, 'full_attention') ?? said
  return Math.max(longest, typeof original === 'number' && typeof factor === 'number' ? original * factor : 0)
}
