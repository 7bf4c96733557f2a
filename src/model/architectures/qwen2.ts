import { countOf, flagOf } from '../configValue.ts'
import { llamaLike } from './llama.ts'

/** Qwen2 and Qwen2.5: Llama's mathematics with biases on q, k and v; a window only behind `use_sliding_window`. */
export const qwen2 = llamaLike(['qwen2'], {
  biases: () => ({ qkv: true, o: false, mlp: false }),
  window: (config) => (flagOf(config, 'use_sliding_window', false) ? countOf(config, 'sliding_window') : undefined),
})
