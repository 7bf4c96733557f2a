import { UnsupportedModelError } from '../../errors.ts'
import type { ModelConfig } from '../../types.ts'
import type { Architecture } from '../architecture.ts'
import { llama } from './llama.ts'
import { mistral } from './mistral.ts'
import { qwen2 } from './qwen2.ts'

/** Every family the toolkit knows. */
export const architectures: readonly Architecture[] = [llama, mistral, qwen2]

/** The table for `model_type` of `config`. Throws `UnsupportedModelError` with the known types. */
export function findArchitecture(config: ModelConfig): Architecture {
  const type = config['model_type']
  const found = architectures.find(({ modelTypes }) => modelTypes.some((known) => known === type))
  if (found === undefined) {
    const known = architectures.flatMap(({ modelTypes }) => modelTypes).sort()
    throw new UnsupportedModelError(
      `config.json: model_type is ${JSON.stringify(type) ?? 'missing'}, expected one of ${known.join(', ')}`,
    )
  }
  return found
}
