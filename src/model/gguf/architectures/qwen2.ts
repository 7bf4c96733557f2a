import type { GgufArchitecture } from '../architecture.ts'
import { checkWholeHeadsRotate, decoderEnds, decoderSizes, ropeTheta, vocabularySize } from '../decoderConfig.ts'
import { requiredNumber } from '../fields.ts'
import { ropeScalingOf } from '../ropeScaling.ts'

/** Qwen 2 and 2.5: biases on q, k and v; rotary halves as at Hugging Face. Source: ggml-org/llama.cpp, conversion/qwen.py. */
export const qwen2: GgufArchitecture = {
  name: 'qwen2',
  tensors: [
    ['token_embd', 'model.embed_tokens'],
    ['output_norm', 'model.norm'],
    ['output', 'lm_head'],
    ['blk.{layer}.attn_norm', 'model.layers.{layer}.input_layernorm'],
    ['blk.{layer}.attn_q', 'model.layers.{layer}.self_attn.q_proj'],
    ['blk.{layer}.attn_k', 'model.layers.{layer}.self_attn.k_proj'],
    ['blk.{layer}.attn_v', 'model.layers.{layer}.self_attn.v_proj'],
    ['blk.{layer}.attn_output', 'model.layers.{layer}.self_attn.o_proj'],
    ['blk.{layer}.ffn_norm', 'model.layers.{layer}.post_attention_layernorm'],
    ['blk.{layer}.ffn_gate', 'model.layers.{layer}.mlp.gate_proj'],
    ['blk.{layer}.ffn_up', 'model.layers.{layer}.mlp.up_proj'],
    ['blk.{layer}.ffn_down', 'model.layers.{layer}.mlp.down_proj'],
  ],
  async config(file) {
    const sizes = decoderSizes(file, 'qwen2')
    checkWholeHeadsRotate(file, 'qwen2', sizes.head_dim)
    const theta = ropeTheta(file, 'qwen2')
    return {
      architectures: ['Qwen2ForCausalLM'],
      model_type: 'qwen2',
      vocab_size: vocabularySize(file),
      ...sizes,
      hidden_act: 'silu',
      rms_norm_eps: requiredNumber(file, 'qwen2.attention.layer_norm_rms_epsilon'),
      rope_theta: theta,
      rope_scaling: await ropeScalingOf(file, 'qwen2', theta, sizes.head_dim),
      use_sliding_window: false,
      ...decoderEnds(file),
    }
  },
}
