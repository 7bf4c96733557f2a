import type { GgufArchitecture } from '../architecture.ts'
import { checkWholeHeadsRotate, decoderEnds, decoderSizes, ropeTheta, vocabularySize } from '../decoderConfig.ts'
import { optionalInteger, optionalNumber, requiredNumber } from '../fields.ts'
import { ropeScalingOf } from '../ropeScaling.ts'

/** Of every six layers the sixth sees all positions. */
const DEFAULT_PATTERN = 6

/** Gemma 3 27B, the one size whose attention is scaled by hidden size over heads; llama.cpp knows it by its depth too. */
const LAYERS_OF_27B = 62

/**
 * The text model of Gemma 3. Norm weights are stored plus one. Positions are scaled in the full-attention layers only.
 * Source: ggml-org/llama.cpp, conversion/gemma.py and src/models/gemma3.cpp.
 */
export const gemma3: GgufArchitecture = {
  name: 'gemma3',
  tensors: [
    ['token_embd', 'model.embed_tokens'],
    ['output_norm', 'model.norm', 'plusOne'],
    ['output', 'lm_head'],
    ['blk.{layer}.attn_norm', 'model.layers.{layer}.input_layernorm', 'plusOne'],
    ['blk.{layer}.attn_q', 'model.layers.{layer}.self_attn.q_proj'],
    ['blk.{layer}.attn_k', 'model.layers.{layer}.self_attn.k_proj'],
    ['blk.{layer}.attn_v', 'model.layers.{layer}.self_attn.v_proj'],
    ['blk.{layer}.attn_output', 'model.layers.{layer}.self_attn.o_proj'],
    ['blk.{layer}.attn_q_norm', 'model.layers.{layer}.self_attn.q_norm', 'plusOne'],
    ['blk.{layer}.attn_k_norm', 'model.layers.{layer}.self_attn.k_norm', 'plusOne'],
    ['blk.{layer}.post_attention_norm', 'model.layers.{layer}.post_attention_layernorm', 'plusOne'],
    ['blk.{layer}.ffn_norm', 'model.layers.{layer}.pre_feedforward_layernorm', 'plusOne'],
    ['blk.{layer}.post_ffw_norm', 'model.layers.{layer}.post_feedforward_layernorm', 'plusOne'],
    ['blk.{layer}.ffn_gate', 'model.layers.{layer}.mlp.gate_proj'],
    ['blk.{layer}.ffn_up', 'model.layers.{layer}.mlp.up_proj'],
    ['blk.{layer}.ffn_down', 'model.layers.{layer}.mlp.down_proj'],
  ],
  async config(file) {
    const sizes = decoderSizes(file, 'gemma3')
    checkWholeHeadsRotate(file, 'gemma3', sizes.head_dim)
    const theta = ropeTheta(file, 'gemma3')
    const layers = sizes.num_hidden_layers
    const window = optionalInteger(file, 'gemma3.attention.sliding_window') ?? 0
    const pattern = optionalInteger(file, 'gemma3.attention.sliding_window_pattern') ?? DEFAULT_PATTERN
    const seesAll = (layer: number) => window === 0 || pattern === 0 || layer % pattern === pattern - 1
    return {
      architectures: ['Gemma3ForCausalLM'],
      model_type: 'gemma3_text',
      vocab_size: vocabularySize(file),
      ...sizes,
      hidden_activation: 'gelu_pytorch_tanh',
      rms_norm_eps: requiredNumber(file, 'gemma3.attention.layer_norm_rms_epsilon'),
      query_pre_attn_scalar:
        layers === LAYERS_OF_27B ? Math.trunc(sizes.hidden_size / sizes.num_attention_heads) : sizes.head_dim,
      sliding_window: window === 0 ? null : window,
      layer_types: Array.from({ length: layers }, (_, i) => (seesAll(i) ? 'full_attention' : 'sliding_attention')),
      rope_theta: theta,
      rope_local_base_freq: optionalNumber(file, 'gemma3.rope.freq_base_swa') ?? 10000,
      rope_scaling: await ropeScalingOf(file, 'gemma3', theta, sizes.head_dim),
      attention_bias: false,
      attn_logit_softcapping: null,
      final_logit_softcapping: optionalNumber(file, 'gemma3.final_logit_softcapping') ?? null,
      ...decoderEnds(file),
    }
  },
}
