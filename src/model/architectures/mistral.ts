import { countOf } from '../configValue.ts'
import { llamaLike } from './llama.ts'

/** Mistral: Llama's mathematics without biases, with an optional sliding window on every layer. */
export const mistral = llamaLike(['mistral'], {
  biases: () => ({ qkv: false, o: false, mlp: false }),
  window: (config) => (config['sliding_window'] == null ? undefined : countOf(config, 'sliding_window')),
})
