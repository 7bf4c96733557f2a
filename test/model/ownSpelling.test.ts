import { describe, expect, it } from 'vitest'
import { UnsupportedModelError } from '../../src/errors.ts'
import { findArchitecture } from '../../src/model/families.ts'
import { inOwnWords } from '../../src/model/ownSpelling.ts'
import type { ModelConfig } from '../../src/types.ts'

const ownWords = (config: ModelConfig) => inOwnWords(findArchitecture(config), config)

describe('a config', () => {
  it.each<[string, string, string]>([
    ['gpt2', 'num_hidden_layers', 'n_layer'],
    ['gpt2', 'max_position_embeddings', 'n_positions'],
    ['bloom', 'n_embed', 'hidden_size'],
    ['falcon', 'n_embed', 'hidden_size'],
    ['distilbert', 'num_attention_heads', 'n_heads'],
    ['t5', 'head_dim', 'd_kv'],
    ['bart', 'num_hidden_layers', 'encoder_layers'],
    ['marian', 'num_attention_heads', 'encoder_attention_heads'],
  ])('of %s that says %s for %s has one name of it left', (type, other, own) => {
    const words = { model_type: type, [own]: 12 }
    expect(ownWords({ model_type: type, [other]: 12 })).toEqual(words)
    expect(ownWords({ ...words, [other]: 12 })).toEqual(words)
    expect(ownWords({ ...words, [other]: null })).toEqual(words)
    expect(() => ownWords({ ...words, [other]: 3 })).toThrow(
      `"${own}" is 12 beside "${other}" 3, two names of one setting`,
    )
  })

  it('of a family without windows says nothing of windows, where all layers see everything', () => {
    const config = { model_type: 'llama', sliding_window: 64, layer_types: ['full_attention'], vocab_size: 9 }
    expect(ownWords(config)).toEqual({ model_type: 'llama', vocab_size: 9 })
    const windowed = { ...config, model_type: 'qwen2' }
    expect(ownWords(windowed)).toEqual(windowed)
  })

  it('of a Mistral with layer_types is that of a Ministral, as for the Auto classes of transformers', () => {
    expect(ownWords({ model_type: 'mistral' })['model_type']).toBe('mistral')
    expect(ownWords({ model_type: 'mistral', layer_types: null })['model_type']).toBe('ministral')
    expect(ownWords({ model_type: 'ministral' })['model_type']).toBe('ministral')
  })

  it.each<[ModelConfig, string]>([
    [{ model_type: 'llama', is_causal: false }, 'is_causal'],
    [{ model_type: 't5', is_causal: false }, 'is_causal'],
    [{ model_type: 'bart', is_encoder_decoder: false }, 'is_encoder_decoder'],
    [{ model_type: 'llama', per_layer_config: { 0: { skip: ['attention'] } } }, 'per_layer_config'],
    [{ model_type: 'llama', sliding_window: 64, max_position_embeddings: 128 }, 'sliding_window'],
    [{ model_type: 'gpt2', sliding_window: 64, n_positions: 128 }, 'sliding_window'],
    [{ model_type: 't5', sliding_window: 64 }, 'sliding_window'],
    [{ model_type: 'phi', layer_types: ['sliding_attention'] }, 'layer_types'],
    [{ model_type: 'gemma', sliding_window: 64, layer_types: ['full_attention', 'sliding_attention'] }, 'layer_types'],
  ])('%j asks for what is not computed, which is said', (config, key) => {
    expect(() => ownWords(config)).toThrow(UnsupportedModelError)
    expect(() => ownWords(config)).toThrow(`"${key}"`)
  })

  it.each<ModelConfig>([
    { model_type: 'bert', is_causal: false },
    { model_type: 'llama', sliding_window: 128, max_position_embeddings: 128 },
    { model_type: 'qwen2', use_sliding_window: false, sliding_window: 64, max_position_embeddings: 128 },
    { model_type: 'llama', per_layer_config: {} },
  ])('%j asks for nothing else and stays as it is', (config) => {
    expect(ownWords(config)).toEqual(config)
  })
})
