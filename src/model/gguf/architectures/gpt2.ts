import type { GgufArchitecture } from '../architecture.ts'
import { decoderEnds, layerCount, vocabularySize } from '../decoderConfig.ts'
import { requiredInteger, requiredNumber } from '../fields.ts'

/** GPT-2: q, k and v fused, Conv1D weights. Source: ggml-org/llama.cpp, conversion/gpt2.py. */
export const gpt2: GgufArchitecture = {
  name: 'gpt2',
  tensors: [
    ['token_embd', 'transformer.wte'],
    ['position_embd', 'transformer.wpe'],
    ['output_norm', 'transformer.ln_f'],
    ['output', 'lm_head'],
    ['blk.{layer}.attn_norm', 'transformer.h.{layer}.ln_1'],
    ['blk.{layer}.attn_qkv', 'transformer.h.{layer}.attn.c_attn', 'transposed'],
    ['blk.{layer}.attn_output', 'transformer.h.{layer}.attn.c_proj', 'transposed'],
    ['blk.{layer}.ffn_norm', 'transformer.h.{layer}.ln_2'],
    ['blk.{layer}.ffn_up', 'transformer.h.{layer}.mlp.c_fc', 'transposed'],
    ['blk.{layer}.ffn_down', 'transformer.h.{layer}.mlp.c_proj', 'transposed'],
  ],
  async config(file) {
    const hidden = requiredInteger(file, 'gpt2.embedding_length')
    const intermediate = requiredInteger(file, 'gpt2.feed_forward_length')
    return {
      architectures: ['GPT2LMHeadModel'],
      model_type: 'gpt2',
      vocab_size: vocabularySize(file),
      n_positions: requiredInteger(file, 'gpt2.context_length'),
      n_embd: hidden,
      n_layer: layerCount(file, 'gpt2'),
      n_head: requiredInteger(file, 'gpt2.attention.head_count'),
      n_inner: intermediate === 4 * hidden ? null : intermediate,
      activation_function: 'gelu_new',
      layer_norm_epsilon: requiredNumber(file, 'gpt2.attention.layer_norm_epsilon'),
      scale_attn_weights: true,
      ...decoderEnds(file),
    }
  },
}
