import { UnsupportedModelError } from '../errors.ts'
import type { ModelConfig } from '../types.ts'
import { choiceOf, numberOf, objectOf } from './configValue.ts'
import type { RopeForm } from './forms.ts'

/** What families call and assume where config.json does not say it in the common words. */
export interface RopeDefaults {
  /** The base θ, in the key `baseKey` of the older spelling. */
  readonly base?: number
  readonly baseKey?: string
  /** The share of a head's channels that turn, in the key `shareKey` of the older spelling. */
  readonly share?: number
  readonly shareKey?: string
}

/**
 * The rotary frequencies of config.json: θ_i = base^(-2i/R) for the R channels of a head that turn, then scaled. Reads both
 * spellings, `rope_theta` with `rope_scaling`, and `rope_parameters` of transformers 5. `linear` divides every frequency by
 * `factor`; `llama3` (Llama 3.1) divides the long waves only and blends in between, as transformers' modeling_rope_utils
 * does. Throws `UnsupportedModelError` for any other type.
 */
export function readRope(config: ModelConfig, headDim: number, defaults: RopeDefaults = {}): RopeForm {
  const { base = 10000, baseKey = 'rope_theta', share = 1, shareKey = 'partial_rotary_factor' } = defaults
  const scaling = objectOf(config, 'rope_parameters') ?? objectOf(config, 'rope_scaling') ?? {}
  return ropeOf(
    {
      ...scaling,
      rope_theta: scaling['rope_theta'] ?? config[baseKey] ?? base,
      partial_rotary_factor: scaling['partial_rotary_factor'] ?? config[shareKey] ?? share,
    },
    headDim,
  )
}

/** The frequencies of one `rope_parameters` object, complete with `rope_theta`. */
export function ropeOf(parameters: ModelConfig, headDim: number): RopeForm {
  const turning = Math.floor(headDim * numberOf(parameters, 'partial_rotary_factor', 1))
  if (turning % 2 !== 0 || turning < 2 || turning > headDim) {
    throw new UnsupportedModelError(
      `config.json: ${turning} of ${headDim} channels of a head turn by position, expected an even number of them; ` +
        "is head_dim or partial_rotary_factor another model's?",
    )
  }
  const base = numberOf(parameters, 'rope_theta')
  const typeKey = parameters['rope_type'] === undefined ? 'type' : 'rope_type'
  const type = choiceOf(parameters, typeKey, ['default', 'linear', 'llama3'], 'default')
  const frequencies = Array.from({ length: turning / 2 }, (_, i) => base ** ((-2 * i) / turning))
  return { inverseFrequencies: frequencies.map((frequency) => scaleFrequency[type](frequency, parameters)) }
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
