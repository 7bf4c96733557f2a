import { UnsupportedModelError } from '../../../errors.ts'
import type { GgufFile } from '../../../format/gguf/openGgufFile.ts'
import type { ModelConfig } from '../../../types.ts'
import type { GgufArchitecture } from '../architecture.ts'
import {
  checkWholeHeadsRotate,
  type DecoderSizes,
  decoderEnds,
  decoderSizes,
  ropeTheta,
  vocabularySize,
} from '../decoderConfig.ts'
import { requiredNumber } from '../fields.ts'
import { ropeScalingOf } from '../ropeScaling.ts'

/**
 * Llama, and Mistral, which llama.cpp converts to the same architecture and runs without a sliding window.
 * Source: ggml-org/llama.cpp, conversion/llama.py.
 */
export const llama: GgufArchitecture = {
  name: 'llama',
  tensors: [
    ['token_embd', 'model.embed_tokens'],
    ['output_norm', 'model.norm'],
    ['output', 'lm_head'],
    ['blk.{layer}.attn_norm', 'model.layers.{layer}.input_layernorm'],
    ['blk.{layer}.attn_q', 'model.layers.{layer}.self_attn.q_proj', 'headPairs'],
    ['blk.{layer}.attn_k', 'model.layers.{layer}.self_attn.k_proj', 'headPairs'],
    ['blk.{layer}.attn_v', 'model.layers.{layer}.self_attn.v_proj'],
    ['blk.{layer}.attn_output', 'model.layers.{layer}.self_attn.o_proj'],
    ['blk.{layer}.ffn_norm', 'model.layers.{layer}.post_attention_layernorm'],
    ['blk.{layer}.ffn_gate', 'model.layers.{layer}.mlp.gate_proj'],
    ['blk.{layer}.ffn_up', 'model.layers.{layer}.mlp.up_proj'],
    ['blk.{layer}.ffn_down', 'model.layers.{layer}.mlp.down_proj'],
  ],
  configTensors: ['rope_freqs.weight'],
  config: async (file) => llamaConfig(file, 'llama', decoderSizes(file, 'llama')),
}

/** config.json of a model that computes as Llama does, or with Qwen2's biases, with its metadata under the prefix `arch`. */
export async function llamaConfig(file: GgufFile, arch: string, sizes: DecoderSizes): Promise<ModelConfig> {
  checkWholeHeadsRotate(file, arch, sizes.head_dim)
  const theta = ropeTheta(file, arch)
  const count = (end: string) => [...file.tensors.keys()].filter((name) => name.endsWith(end)).length
  const [q = 0, k = 0, v = 0, o = 0] = ['q', 'k', 'v', 'output'].map((name) => count(`.attn_${name}.bias`))
  const mlpBias = count('.ffn_up.bias') > 0
  // Qwen2's biases, as deci where a plan leaves uneven layers; what is there of o then was added by pruning
  const isQwen = q > o
  if (k !== q || v !== q || (isQwen && mlpBias)) {
    throw new UnsupportedModelError(
      `${file.path}: has biases on ${q} q, ${k} k, ${v} v, ${o} o and ${mlpBias ? 'some' : 'no'} mlps, expected Llama's, on all or none of a layer, or Qwen2's, on q, k and v; use the model's Hugging Face checkpoint`,
    )
  }
  return {
    ...(isQwen
      ? { architectures: ['Qwen2ForCausalLM'], model_type: 'qwen2', use_sliding_window: false }
      : { architectures: ['LlamaForCausalLM'], model_type: 'llama', attention_bias: q > 0, mlp_bias: mlpBias }),
    vocab_size: vocabularySize(file),
    ...sizes,
    hidden_act: 'silu',
    rms_norm_eps: requiredNumber(file, `${arch}.attention.layer_norm_rms_epsilon`),
    rope_theta: theta,
    rope_scaling: await ropeScalingOf(file, arch, theta, sizes.head_dim),
    ...decoderEnds(file),
  }
}
