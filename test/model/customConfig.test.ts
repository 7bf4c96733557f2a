import { describe, expect, test } from 'vitest'
import { type CustomLayout, customConfig, isCustomConfig, readCustomConfig } from '../../src/model/customConfig.ts'
import { findArchitecture } from '../../src/model/families.ts'

const stock = {
  model_type: 'mistral',
  architectures: ['MistralForCausalLM'],
  num_hidden_layers: 3,
  hidden_size: 64,
  intermediate_size: 96,
  num_attention_heads: 8,
  num_key_value_heads: 4,
  vocab_size: 100,
}
const layers = [
  { mlp: { from_layer: 0, channels: 40 } },
  { attention: { from_layer: 1 }, mlp: { from_layer: 2 } },
  { attention: { from_layer: 3, heads: [0, 3] } },
]
const mistral = findArchitecture(stock)
const custom = customConfig(stock, mistral, { decoder: layers })

describe('the config of a custom export', () => {
  test('points to the remote code and says what each layer has', () => {
    expect(custom).toEqual({
      ...stock,
      architectures: ['BlockPrunerForCausalLM'],
      model_type: 'blockpruner',
      base_model_type: 'mistral',
      auto_map: {
        AutoConfig: 'modeling_blockpruner.BlockPrunerConfig',
        AutoModel: 'modeling_blockpruner.BlockPrunerModel',
        AutoModelForCausalLM: 'modeling_blockpruner.BlockPrunerForCausalLM',
      },
      block_layout: { decoder: layers },
    })
    expect(isCustomConfig(custom)).toBe(true)
    expect(isCustomConfig(stock)).toBe(false)
  })

  test('is read back as the base family with blocks absent and narrower', () => {
    expect(readCustomConfig(JSON.parse(JSON.stringify(custom)))).toEqual({
      config: stock,
      absent: ['decoder.0.attention', 'decoder.2.mlp'],
      units: { 'decoder.0.mlp': 40, 'decoder.2.attention': 2 },
      heads: { 'decoder.2.attention': [0, 3] },
    })
  })

  test('keeps the head that the checkpoint was saved with, and the norms that removed blocks left', () => {
    const bert = {
      model_type: 'bert',
      architectures: ['BertForSequenceClassification'],
      hidden_size: 64,
      intermediate_size: 96,
      max_position_embeddings: 32,
      num_attention_heads: 4,
      num_hidden_layers: 2,
      vocab_size: 100,
    }
    const layout: CustomLayout = {
      encoder: [
        { attention: { heads: [] }, mlp: {} },
        { attention: {}, mlp: { channels: 0 } },
      ],
    }
    const written = customConfig(bert, findArchitecture(bert), layout)
    expect(written['architectures']).toEqual(['BlockPrunerForSequenceClassification'])
    expect(readCustomConfig(written)).toEqual({
      config: bert,
      absent: [],
      units: { 'encoder.0.attention': 0, 'encoder.1.mlp': 0 },
      heads: { 'encoder.0.attention': [] },
    })
  })

  test.each([
    [
      { block_layout: { decoder: layers.slice(1) } },
      'block_layout.decoder has 2 entries, expected one for each of 3 layers',
    ],
    [{ block_layout: {} }, 'block_layout.decoder has 0 entries, expected one for each of 3 layers'],
    [{ base_model_type: 'hyena' }, 'model_type is "hyena", expected one of'],
    [
      { block_layout: { decoder: [...layers.slice(1), { attention: true }] } },
      'config.json: block_layout.decoder.2.attention: ',
    ],
    [{ block_layout: { decoder: [{ mlp: { channels: -1 } }] } }, 'config.json: block_layout.decoder.0.mlp.channels: '],
    [
      { block_layout: { decoder: [...layers.slice(1), { attention: { heads: [1, 4] } }] } },
      'config.json: block_layout.decoder.2.attention.heads: has 4, expected ascending numbers below 4',
    ],
    [
      { block_layout: { decoder: [...layers.slice(1), { attention: { heads: [1, 1] } }] } },
      'config.json: block_layout.decoder.2.attention.heads: has 1, expected ascending numbers below 4',
    ],
  ])('names the path of what is wrong: %j', (wrong, message) => {
    expect(() => readCustomConfig({ ...custom, ...wrong })).toThrow(message)
  })
})
