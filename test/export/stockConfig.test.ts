import { describe, expect, test } from 'vitest'
import type { Layout, NewLayer } from '../../src/export/layout.ts'
import { stockConfig } from '../../src/export/stockConfig.ts'
import { findArchitecture } from '../../src/model/families.ts'
import type { Model } from '../../src/model/model.ts'
import type { ModelConfig } from '../../src/types.ts'

const llama = {
  model_type: 'llama',
  architectures: ['LlamaForCausalLM'],
  hidden_size: 64,
  intermediate_size: 96,
  num_attention_heads: 8,
  num_key_value_heads: 4,
  num_hidden_layers: 4,
  vocab_size: 100,
  rope_theta: 10000,
  rms_norm_eps: 1e-5,
  eos_token_id: [1, 2, 3, 4],
}
const qwen2 = { ...llama, model_type: 'qwen2', use_sliding_window: true, sliding_window: 16, max_window_layers: 2 }

const bart = {
  model_type: 'bart',
  d_model: 24,
  encoder_attention_heads: 3,
  decoder_attention_heads: 4,
  encoder_ffn_dim: 40,
  decoder_ffn_dim: 28,
  encoder_layers: 2,
  decoder_layers: 1,
  vocab_size: 61,
  max_position_embeddings: 32,
}
const t5 = {
  model_type: 't5',
  d_model: 24,
  num_heads: 3,
  d_kv: 10,
  d_ff: 40,
  num_layers: 2,
  num_decoder_layers: 1,
  vocab_size: 61,
  relative_attention_num_buckets: 8,
}

function cut(config: ModelConfig, layers: readonly NewLayer[], { K, F }: { K?: number; F?: number } = {}): ModelConfig {
  const layout: Layout = { form: 'whole', stacks: { decoder: layers } }
  return stockConfig({ config, architecture: findArchitecture(config) } as Model, layout, { decoder: { K, F } })
}

const whole = (...layers: number[]): NewLayer[] => layers.map((layer) => ({ attention: layer, mlp: layer }))

describe('the config of a stock export', () => {
  test('counts the layers that are left and keeps every other field', () => {
    expect(cut(llama, whole(0, 2, 3))).toEqual({ ...llama, num_hidden_layers: 3 })
  })

  test('can have no layer at all', () => {
    expect(cut(llama, [])).toEqual({ ...llama, num_hidden_layers: 0 })
  })

  test('writes smaller uniform widths with an explicit head size', () => {
    expect(cut(llama, whole(0, 1, 2, 3), { K: 2, F: 40 })).toEqual({
      ...llama,
      num_attention_heads: 4,
      num_key_value_heads: 2,
      head_dim: 8,
      intermediate_size: 40,
    })
  })

  test('leaves the way the config says its widths alone when they do not change', () => {
    const { num_key_value_heads: _, ...manyHeads } = llama
    expect(cut(manyHeads, whole(0, 1), { K: 8, F: 96 })).toEqual({ ...manyHeads, num_hidden_layers: 2 })
  })

  test('gives an attention its own entry of layer_types, and an mlp alone that of the attention after it', () => {
    const layer_types = ['full_attention', 'sliding_attention', 'full_attention', 'sliding_attention']
    const { layer_types: left } = cut({ ...qwen2, layer_types }, [{ attention: 1, mlp: 2 }, whole(2)[0]!])
    expect(left).toEqual(['sliding_attention', 'full_attention'])
    const { layer_types: custom } = cut({ ...qwen2, layer_types }, [{ mlp: 0 }, { attention: 1, mlp: 1 }, { mlp: 3 }])
    expect(custom).toEqual(['sliding_attention', 'sliding_attention', 'sliding_attention'])
  })

  test('counts the layers below max_window_layers that are left', () => {
    expect(cut(qwen2, whole(1, 2, 3))).toMatchObject({
      num_hidden_layers: 3,
      max_window_layers: 1,
      layer_types: ['full_attention', 'sliding_attention', 'sliding_attention'],
    })
    expect(cut({ ...qwen2, use_sliding_window: false, max_window_layers: 28 }, whole(1, 3))).toEqual({
      ...qwen2,
      use_sliding_window: false,
      num_hidden_layers: 2,
      max_window_layers: 2,
    })
  })

  test('writes out layer types that the family derives from layer numbers', () => {
    const gemma2 = {
      ...llama,
      model_type: 'gemma2',
      hidden_activation: 'gelu_pytorch_tanh',
      head_dim: 8,
      tie_word_embeddings: true,
      sliding_window: 16,
    }
    expect(cut(gemma2, whole(0, 2, 3))['layer_types']).toEqual([
      'sliding_attention',
      'sliding_attention',
      'full_attention',
    ])
  })

  test('does not take a list for a list of layers because it is as long', () => {
    expect(cut(llama, whole(0))['eos_token_id']).toEqual([1, 2, 3, 4])
  })

  test('drops a pointer to code that is not carried along', () => {
    expect(cut({ ...llama, auto_map: { AutoConfig: 'x.Y' } }, whole(0, 1, 2, 3))).toEqual(llama)
  })

  test('uses the names of the family for layers and channels', () => {
    const gpt2 = {
      model_type: 'gpt2',
      n_embd: 32,
      n_head: 4,
      n_layer: 3,
      n_positions: 16,
      vocab_size: 50,
      n_inner: null,
    }
    expect(cut(gpt2, whole(0, 2), { F: 100 })).toEqual({ ...gpt2, n_layer: 2, n_inner: 100 })
  })

  test('writes the widths of each stack where the family counts them apart, and refuses two for one key', () => {
    const two: Layout = {
      form: 'whole',
      stacks: { encoder: whole(0, 1), decoder: [{ attention: 0, crossAttention: 0, mlp: 0 }] },
    }
    const cutStacks = (config: ModelConfig, encoder: number, decoder: number | undefined) =>
      stockConfig({ config, architecture: findArchitecture(config) } as Model, two, {
        encoder: { K: undefined, F: encoder },
        decoder: { K: undefined, F: decoder },
      })
    expect(cutStacks(bart, 30, 28)).toEqual({ ...bart, encoder_ffn_dim: 30 })
    expect(cutStacks(bart, 30, 20)).toEqual({ ...bart, encoder_ffn_dim: 30, decoder_ffn_dim: 20 })
    expect(cutStacks(t5, 30, 30)).toEqual({ ...t5, d_ff: 30 })
    // no mlp of the decoder is left
    expect(cutStacks(t5, 30, undefined)).toEqual({ ...t5, d_ff: 30 })
    expect(() => cutStacks(t5, 30, 40)).toThrow('no way to say the widths that are left')
    expect(() => cutStacks(t5, 40, 30)).toThrow('no way to say the widths that are left')
  })

  test('refuses fewer heads beside factors that transformers counts by hidden_size / heads', () => {
    const factors = Array(4).fill(2)
    const rope = {
      rope_type: 'longrope',
      short_factor: factors,
      long_factor: factors,
      original_max_position_embeddings: 8,
    }
    const phi3 = { ...llama, model_type: 'phi3', max_position_embeddings: 32, rope_scaling: rope }
    expect(cut(phi3, whole(0, 1, 2, 3), { F: 60 })).toMatchObject({ intermediate_size: 60 })
    expect(() => cut(phi3, whole(0, 1, 2, 3), { K: 3 })).toThrow("no way to say fewer heads beside LongRoPE's factors")
  })

  test('refuses what the family has no words for', () => {
    const gpt2 = { model_type: 'gpt2', n_embd: 32, n_head: 4, n_layer: 3, n_positions: 16, vocab_size: 50 }
    expect(() => cut(gpt2, whole(0, 1, 2), { K: 3 })).toThrow(
      'config.json of model_type "gpt2" has no way to say the widths that are left',
    )
    expect(() => cut({ ...gpt2, scale_attn_by_inverse_layer_idx: true }, whole(0, 2))).toThrow(
      'no way to say layer 1, whose attention was in layer 2',
    )
  })
})
