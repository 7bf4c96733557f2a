import type { ModelConfig } from '../types.ts'
import type { StackTable } from './architecture.ts'

/** Whether the branches of a layer read the same input (GPT-NeoX, Phi, Falcon), so that those of two layers never make one. */
export function hasParallelBranches(config: ModelConfig, table: StackTable): boolean {
  // without a first layer there is none to ask
  if (table.layers(config) === 0) return false
  return table.blocks.some(({ form }) => {
    const first = form(config, 0)
    return 'parallel' in first && first.parallel === true
  })
}
