import { isDeepStrictEqual } from 'node:util'
import type { ModelConfig } from '../../types.ts'
import { activationOf } from '../activation.ts'
import { agreedValue, countOf, numberOf, objectOf } from '../configValue.ts'
import type { RopeForm } from '../mathematics.ts'
import { otherScaling, ropeOf } from '../rope.ts'
import type { TransformersClasses } from '../transformersClasses.ts'
import { type LayerType, layerTypeOf, slidingWindowOf } from '../window.ts'
import { gemmaLike } from './gemma.ts'
import { headsDivideHidden } from './llama.ts'

const classes: TransformersClasses = {
  module: 'gemma3',
  config: 'Gemma3TextConfig',
  models: { AutoModel: 'Gemma3TextModel', AutoModelForCausalLM: 'Gemma3ForCausalLM' },
  takesHeads: headsDivideHidden,
}

/**
 * The text model of Gemma 3: Gemma 2's sandwiched branches with norms on q and k and without soft caps. Of every six layers
 * five see a window, with a rotary base of their own.
 */
export const gemma3 = gemmaLike(
  { gemma3_text: classes },
  {
    hasPostNorms: true,
    hasHeadNorms: true,
    rope: gemma3Rope,
    window: (config, layer) =>
      typeOf(config, layer) === 'sliding_attention' ? slidingWindowOf(config, 4096) : undefined,
    queryScalar: (config) => numberOf(config, 'query_pre_attn_scalar', 256),
    activation: (config) => activationOf(config, 'hidden_activation', 'gelu_pytorch_tanh'),
    keyValueHeads: 4,
    softcaps: { attention: 'none', final: undefined },
  },
)

function typeOf(config: ModelConfig, layer: number): LayerType {
  const pattern = countOf(config, 'sliding_window_pattern', 6)
  return layerTypeOf(config, layer, (layer + 1) % pattern === 0 ? 'full_attention' : 'sliding_attention')
}

/** transformers 5 has an object for each type of layer; before, `rope_scaling` was that of the layers that see all. */
function gemma3Rope(config: ModelConfig, headDim: number, layer: number): RopeForm {
  const type = typeOf(config, layer)
  const isFull = type === 'full_attention'
  const [key, base] = isFull ? (['rope_theta', 1e6] as const) : (['rope_local_base_freq', 1e4] as const)
  const own = objectOf(objectOf(config, 'rope_parameters') ?? {}, type)
  const scaling = (isFull && objectOf(config, 'rope_scaling')) || {}
  if (own !== undefined && !isDeepStrictEqual(own, { ...own, ...scaling })) throw otherScaling(config)
  const theta = agreedValue([`rope_parameters.${type}.rope_theta`, own?.['rope_theta']], [key, config[key]])
  return ropeOf({ ...(own ?? scaling), rope_theta: theta ?? base }, headDim, config['max_position_embeddings'])
}
