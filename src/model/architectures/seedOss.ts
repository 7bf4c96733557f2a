import { flagOf } from '../configValue.ts'
import { decoderClasses } from '../transformersClasses.ts'
import { llamaLike } from './llama.ts'

/** Seed-OSS: Llama's mathematics with biases on q, k and v, those of the other matrices said apart. */
export const seedOss = llamaLike(
  { seed_oss: decoderClasses('seed_oss', 'SeedOss') },
  {
    biases: (config) => ({
      qkv: flagOf(config, 'attention_bias', true),
      o: flagOf(config, 'attention_out_bias', false),
      mlp: flagOf(config, 'mlp_bias', false),
    }),
    defaults: { headDim: 128, keyValueHeads: 8 },
  },
)
