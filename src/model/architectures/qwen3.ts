import { flagOf } from '../configValue.ts'
import { decoderClasses } from '../transformersClasses.ts'
import { llamaLike } from './llama.ts'
import { qwenWindow } from './qwen2.ts'

/** Qwen3: Llama's mathematics with a norm on q and k of every head. */
export const qwen3 = llamaLike(
  { qwen3: decoderClasses('qwen3', 'Qwen3') },
  {
    biases: (config) => ({
      qkv: flagOf(config, 'attention_bias', false),
      o: flagOf(config, 'attention_bias', false),
      mlp: false,
    }),
    hasHeadNorms: true,
    window: qwenWindow,
    defaults: { headDim: 128, keyValueHeads: 32 },
  },
)
