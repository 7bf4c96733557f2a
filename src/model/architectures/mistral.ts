import { decoderClasses } from '../transformersClasses.ts'
import { slidingWindowOf } from '../window.ts'
import { llamaLike } from './llama.ts'

/** Mistral: Llama's mathematics with a sliding window on every layer, 4096 tokens where the config does not say. */
export const mistral = llamaLike(
  { mistral: decoderClasses('mistral', 'Mistral') },
  {
    window: (config) => slidingWindowOf(config, 4096),
    defaults: { keyValueHeads: 8 },
  },
)
