import type { ModelConfig } from '../types.ts'
import { choiceOf, numberOf, objectOf } from './configValue.ts'
import type { RopeForm } from './forms.ts'

/**
 * The rotary frequencies of config.json: θ_i = base^(-2i/E), then scaled. Reads both spellings, `rope_theta` with
 * `rope_scaling`, and `rope_parameters` of transformers 5. `linear` divides every frequency by `factor`; `llama3`
 * (Llama 3.1) divides the long waves only and blends in between, as transformers' modeling_rope_utils does.
 * Throws `UnsupportedModelError` for any other type.
 */
export function readRope(config: ModelConfig, headDim: number): RopeForm {
  const parameters = objectOf(config, 'rope_parameters')
  const scaling = parameters ?? objectOf(config, 'rope_scaling') ?? {}
  const base = numberOf(scaling['rope_theta'] === undefined ? config : scaling, 'rope_theta', 10000)
  const typeKey = scaling['rope_type'] === undefined ? 'type' : 'rope_type'
  const type = choiceOf(scaling, typeKey, ['default', 'linear', 'llama3'], 'default')
  const frequencies = Array.from({ length: headDim / 2 }, (_, i) => base ** ((-2 * i) / headDim))
  return { inverseFrequencies: frequencies.map((frequency) => scaleFrequency[type](frequency, scaling)) }
}

const scaleFrequency: Record<'default' | 'linear' | 'llama3', (frequency: number, scaling: ModelConfig) => number> = {
  default: (frequency) => frequency,
  linear: (frequency, scaling) => frequency / numberOf(scaling, 'factor'),
  llama3(frequency, scaling) {
    const factor = numberOf(scaling, 'factor')
    const low = numberOf(scaling, 'low_freq_factor')
    const high = numberOf(scaling, 'high_freq_factor')
    const context = numberOf(scaling, 'original_max_position_embeddings')
    const wavelength = (2 * Math.PI) / frequency
    if (wavelength < context / high) return frequency
    if (wavelength > context / low) return frequency / factor
    const blend = (context / wavelength - low) / (high - low)
    return ((1 - blend) * frequency) / factor + blend * frequency
  },
}
