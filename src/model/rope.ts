import { isDeepStrictEqual } from 'node:util'
import { UnsupportedModelError } from '../errors.ts'
import type { ModelConfig } from '../types.ts'
import { agreedValue, choiceOf, flagOf, numberOf, numbersOf, objectOf, positiveOf } from './configValue.ts'
import type { RopeForm } from './mathematics.ts'

/** What families call and assume where config.json does not say it in the common words. */
export interface RopeDefaults {
  /** The base θ, in the key `baseKey` of the older spelling. */
  readonly base?: number
  readonly baseKey?: string
  /**
   * The share of a head's channels that turn, in the key `shareKey` of the older spelling. Absent: all of them, whatever config.json
   * says, as the family's own code in transformers has it.
   */
  readonly share?: number
  readonly shareKey?: string
}

/**
 * The rotary positions of config.json: frequencies θ_i = base^(-2i/R) for the R channels of a head that turn, then scaled. Reads
 * both spellings, `rope_theta` with `rope_scaling`, and `rope_parameters` of transformers 5. Throws `UnsupportedModelError` for a
 * type of scaling that is not in the list below, and where the two spellings say different things.
 */
export function readRope(config: ModelConfig, headDim: number, defaults: RopeDefaults = {}): RopeForm {
  const [said, other] = ropeSettings(config).map((settings) => withSettingsBeside(settings, config, defaults))
  if (other !== undefined && !isDeepStrictEqual(other, said)) throw otherScaling(config)
  return ropeOf(said ?? {}, headDim, config['max_position_embeddings'], defaults.share !== undefined)
}

/** What config.json says of rotary positions and their scaling, in the one spelling or the other. */
export function ropeScalingIn(config: ModelConfig): ModelConfig {
  return ropeSettings(config)[0]!
}

/** The objects in which config.json says it: one, or two where both spellings say something. */
function ropeSettings(config: ModelConfig): readonly ModelConfig[] {
  const settings = ['rope_parameters', 'rope_scaling'].map((key) => objectOf(config, key) ?? {})
  const said = settings.filter((each) => Object.keys(each).length > 0)
  return said.length > 0 ? said : [{}]
}

/** `settings` with what config.json or the family says of them elsewhere. */
function withSettingsBeside(
  { type, rope_type = type, ...settings }: ModelConfig,
  config: ModelConfig,
  { base = 10000, baseKey = 'rope_theta', share, shareKey = 'partial_rotary_factor' }: RopeDefaults,
): ModelConfig {
  const agreed = (key: string, name = key) =>
    agreedValue([`rope_parameters.${key}`, settings[key]], [name, config[name]])
  return {
    ...settings,
    rope_type: rope_type ?? 'default',
    rope_theta: agreed('rope_theta', baseKey) ?? base,
    ...(share !== undefined && { partial_rotary_factor: agreed('partial_rotary_factor', shareKey) ?? share }),
    // Phi-3 says it beside the other sizes
    original_max_position_embeddings: agreed('original_max_position_embeddings'),
  }
}

/**
 * For a `rope_scaling` beside a `rope_parameters` that says something else: transformers 5 then reads nothing of the latter, not even its
 * `rope_theta`, and other software nothing of the former.
 */
export function otherScaling({
  rope_parameters: parameters,
  rope_scaling: scaling,
}: ModelConfig): UnsupportedModelError {
  return new UnsupportedModelError(
    `config.json: "rope_scaling" is ${JSON.stringify(scaling)} beside "rope_parameters" ${JSON.stringify(parameters)}; software reads the one ` +
      'or the other: move into "rope_parameters" what is meant, its "rope_theta" too, and remove "rope_scaling"',
  )
}

/**
 * The positions of one `rope_parameters` object, complete with `rope_theta`; `longest`: the config's `max_position_embeddings`.
 * `isPartial`: the family turns the share of a head that `partial_rotary_factor` says, else every channel.
 */
export function ropeOf(parameters: ModelConfig, headDim: number, longest: unknown, isPartial = false): RopeForm {
  const typeKey = parameters['rope_type'] === undefined ? 'type' : 'rope_type'
  const type = choiceOf(parameters, typeKey, ropeTypes, 'default')
  const turning = isPartial ? Math.floor(headDim * numberOf(parameters, 'partial_rotary_factor', 1)) : headDim
  if (!isPartial && type !== 'default' && numberOf(parameters, 'partial_rotary_factor', 1) !== 1) {
    throw new UnsupportedModelError(
      `config.json: "partial_rotary_factor" is ${parameters['partial_rotary_factor']} beside rope_type "${type}", but this family turns whole heads ` +
        'and transformers fails on it; remove it, or set model_type to the family that the checkpoint is of',
    )
  }
  if (turning % 2 !== 0 || turning < 2 || turning > headDim) {
    throw new UnsupportedModelError(
      `config.json: ${turning} of ${headDim} channels of a head turn by position, expected an even number of them; ` +
        "is head_dim or partial_rotary_factor another model's?",
    )
  }
  const base = positiveOf(parameters, 'rope_theta')
  // Phi-3's first configs call LongRoPE so
  const isLongRope = type === 'longrope' || type === 'su' || (type === 'yarn' && 'short_factor' in parameters)
  const frequencies = Array.from({ length: turning / 2 }, (_, i) => base ** ((-2 * i) / turning))
  return scaleRope[isLongRope ? 'longrope' : type]({
    frequencies,
    base,
    scaling: {
      ...parameters,
      original_max_position_embeddings: parameters['original_max_position_embeddings'] ?? longest,
      max_position_embeddings: longest,
    },
  })
}

const ropeTypes = ['default', 'linear', 'dynamic', 'llama3', 'yarn', 'longrope', 'su'] as const

interface Unscaled {
  readonly frequencies: readonly number[]
  readonly base: number
  readonly scaling: ModelConfig
}

/** As transformers' modeling_rope_utils scales. */
const scaleRope: Record<(typeof ropeTypes)[number], (unscaled: Unscaled) => RopeForm> = {
  default: ({ frequencies }) => ({ inverseFrequencies: frequencies }),
  linear: ({ frequencies, scaling }) => {
    const factor = positiveOf(scaling, 'factor')
    return { inverseFrequencies: frequencies.map((frequency) => frequency / factor) }
  },
  dynamic: ({ frequencies, base, scaling }) => ({
    inverseFrequencies: frequencies,
    dynamic: { beyond: numberOf(scaling, 'max_position_embeddings'), base, factor: positiveOf(scaling, 'factor') },
  }),
  llama3,
  yarn,
  longrope: longRope,
  su: longRope,
}

/** Llama 3.1: long waves are divided by `factor`, short ones left, those between blended. */
function llama3({ frequencies, scaling }: Unscaled): RopeForm {
  const factor = positiveOf(scaling, 'factor')
  const low = numberOf(scaling, 'low_freq_factor')
  const high = numberOf(scaling, 'high_freq_factor')
  const context = positiveOf(scaling, 'original_max_position_embeddings')
  const scale = (frequency: number) => {
    const wavelength = (2 * Math.PI) / frequency
    if (wavelength < context / high) return frequency
    if (wavelength > context / low) return frequency / factor
    const blend = (context / wavelength - low) / (high - low)
    return ((1 - blend) * frequency) / factor + blend * frequency
  }
  return { inverseFrequencies: frequencies.map(scale) }
}

/**
 * YaRN (arXiv 2309.00071): pairs of channels that turn more than β_fast times in the original context keep their frequency, those
 * that turn less than β_slow times are divided by `factor`, and a ramp over the number of the pair leads from one to the other.
 */
function yarn({ frequencies, base, scaling }: Unscaled): RopeForm {
  const context = positiveOf(scaling, 'original_max_position_embeddings')
  const factor = positiveOf(scaling, 'factor', numberOf(scaling, 'max_position_embeddings', context) / context)
  const turning = 2 * frequencies.length
  const pairTurning = (times: number) => (turning * Math.log(context / (times * 2 * Math.PI))) / (2 * Math.log(base))
  const isTruncated = flagOf(scaling, 'truncate', true)
  const [fast, slow] = [
    pairTurning(numberOf(scaling, 'beta_fast', 0) || 32),
    pairTurning(numberOf(scaling, 'beta_slow', 0) || 1),
  ]
  const first = Math.max(isTruncated ? Math.floor(fast) : fast, 0)
  const last = Math.min(isTruncated ? Math.ceil(slow) : slow, turning - 1)
  const width = first === last ? 0.001 : last - first
  return {
    inverseFrequencies: frequencies.map((frequency, i) => {
      const ramp = Math.min(1, Math.max(0, (i - first) / width))
      return (frequency / factor) * ramp + frequency * (1 - ramp)
    }),
    ...magnitudeOf(numberOf(scaling, 'attention_factor', yarnMagnitude(scaling, factor))),
  }
}

/** What makes up for the flatter scores of longer rows: 1 + 0.1 m ln(factor), DeepSeek's m and that of all dimensions compared. */
function yarnMagnitude(scaling: ModelConfig, factor: number): number {
  const magnitude = (m: number) => (factor <= 1 ? 1 : 0.1 * m * Math.log(factor) + 1)
  const [m, ofAll] = [numberOf(scaling, 'mscale', 0), numberOf(scaling, 'mscale_all_dim', 0)]
  return m !== 0 && ofAll !== 0 ? magnitude(m) / magnitude(ofAll) : magnitude(1)
}

/** LongRoPE (arXiv 2402.13753): each frequency has a divisor, another one in rows longer than the original context. */
function longRope({ frequencies, scaling }: Unscaled): RopeForm {
  const context = positiveOf(scaling, 'original_max_position_embeddings')
  const factor = positiveOf(scaling, 'factor', numberOf(scaling, 'max_position_embeddings', context) / context)
  const divided = (key: string) => {
    const divisors = numbersOf(scaling, key, frequencies.length)
    return frequencies.map((frequency, i) => frequency / divisors[i]!)
  }
  const magnitude = factor <= 1 ? 1 : Math.sqrt(1 + Math.log(factor) / Math.log(context))
  return {
    inverseFrequencies: divided('short_factor'),
    ...magnitudeOf(numberOf(scaling, 'attention_factor', magnitude)),
    long: { beyond: context, inverseFrequencies: divided('long_factor') },
  }
}

const magnitudeOf = (magnitude: number): Pick<RopeForm, 'magnitude'> => (magnitude === 1 ? {} : { magnitude })
