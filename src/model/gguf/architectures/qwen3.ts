import type { GgufArchitecture } from '../architecture.ts'
import { checkWholeHeadsRotate, decoderEnds, decoderSizes, ropeTheta, vocabularySize } from '../decoderConfig.ts'
import { requiredNumber } from '../fields.ts'
import { ropeScalingOf } from '../ropeScaling.ts'
import { qwen2 } from './qwen2.ts'

/** Qwen 3: norms on the heads of q and k, no biases. Source: ggml-org/llama.cpp, conversion/qwen.py. */
export const qwen3: GgufArchitecture = {
  name: 'qwen3',
  tensors: [
    ...qwen2.tensors,
    ['blk.{layer}.attn_q_norm', 'model.layers.{layer}.self_attn.q_norm'],
    ['blk.{layer}.attn_k_norm', 'model.layers.{layer}.self_attn.k_norm'],
  ],
  async config(file) {
    const sizes = decoderSizes(file, 'qwen3')
    checkWholeHeadsRotate(file, 'qwen3', sizes.head_dim)
    const theta = ropeTheta(file, 'qwen3')
    return {
      architectures: ['Qwen3ForCausalLM'],
      model_type: 'qwen3',
      vocab_size: vocabularySize(file),
      ...sizes,
      hidden_act: 'silu',
      rms_norm_eps: requiredNumber(file, 'qwen3.attention.layer_norm_rms_epsilon'),
      rope_theta: theta,
      rope_scaling: await ropeScalingOf(file, 'qwen3', theta, sizes.head_dim),
      attention_bias: file.tensors.has('blk.0.attn_q.bias'),
      use_sliding_window: false,
      ...decoderEnds(file),
    }
  },
}
