import { activationOf } from '../activation.ts'
import { numberOf } from '../configValue.ts'
import { readRope } from '../rope.ts'
import { decoderClasses } from '../transformersClasses.ts'
import { layerTypeOf, slidingWindowOf } from '../window.ts'
import { gemmaLike } from './gemma.ts'
import { headsDivideHidden } from './llama.ts'

/** Gemma 2: norms on both sides of every branch, soft caps on scores and logits, a window on every other layer. */
export const gemma2 = gemmaLike(
  { gemma2: decoderClasses('gemma2', 'Gemma2', { takesHeads: headsDivideHidden }) },
  {
    hasPostNorms: true,
    hasHeadNorms: false,
    rope: (config, headDim) => readRope(config, headDim),
    window(config, layer) {
      const type = layerTypeOf(config, layer, layer % 2 === 0 ? 'sliding_attention' : 'full_attention')
      return type === 'sliding_attention' ? slidingWindowOf(config, 4096) : undefined
    },
    queryScalar: (config) => numberOf(config, 'query_pre_attn_scalar', 256),
    activation: (config) => activationOf(config, 'hidden_activation', 'gelu_pytorch_tanh'),
    keyValueHeads: 4,
    softcaps: { attention: 50, final: 30 },
  },
)
