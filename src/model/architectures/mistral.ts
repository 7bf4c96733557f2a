import type { Architecture } from '../architecture.ts'
import { decoderClasses } from '../transformersClasses.ts'
import { layerTypeOf, slidingWindowOf } from '../window.ts'
import { llamaLike } from './llama.ts'

/**
 * Mistral: Llama's mathematics with a sliding window on every layer, 4096 tokens where the config does not say. With `layer_types` it is
 * Ministral, whose layers have it or not as they say; Mistral's own classes would not read them.
 */
export const mistral: Architecture = {
  ...llamaLike(
    { mistral: decoderClasses('mistral', 'Mistral'), ministral: decoderClasses('ministral', 'Ministral') },
    {
      window(config, layer) {
        const isSliding = layerTypeOf(config, layer, 'sliding_attention') === 'sliding_attention'
        return isSliding ? slidingWindowOf(config, 4096) : undefined
      },
      defaults: { keyValueHeads: 8 },
    },
  ),
  modelType: (config) => ('layer_types' in config ? 'ministral' : `${config['model_type']}`),
}
