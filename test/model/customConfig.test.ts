import { describe, expect, test } from 'vitest'
import { customConfig, isCustomConfig, readCustomConfig } from '../../src/model/customConfig.ts'

const stock = { model_type: 'mistral', architectures: ['MistralForCausalLM'], num_hidden_layers: 3, hidden_size: 64 }
const layers = [
  { attention: false, mlp: true, mlp_from_layer: 0, intermediate_size: 40 },
  { attention: true, mlp: true, attention_from_layer: 1, mlp_from_layer: 2 },
  { attention: true, mlp: false, attention_from_layer: 3, num_attention_heads: 2, num_key_value_heads: 1 },
]
const custom = customConfig(stock, 'mistral', layers)

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
      block_layout: layers,
    })
    expect(isCustomConfig(custom)).toBe(true)
    expect(isCustomConfig(stock)).toBe(false)
  })

  test('is read back as the base family with blocks absent and narrower', () => {
    expect(readCustomConfig(JSON.parse(JSON.stringify(custom)))).toEqual({
      config: stock,
      absent: ['decoder.0.attention', 'decoder.2.mlp'],
      units: { 'decoder.0.mlp': 40, 'decoder.2.attention': 1 },
    })
  })

  test.each([
    [{ block_layout: layers.slice(1) }, 'block_layout has 2 entries, expected num_hidden_layers=3'],
    [{ base_model_type: 'bert' }, 'config.json: base_model_type: '],
    [{ block_layout: [...layers.slice(1), { attention: true }] }, 'config.json: block_layout.2.mlp: '],
    [{ block_layout: [{ ...layers[0], intermediate_size: 0 }] }, 'config.json: block_layout.0.intermediate_size: '],
    [{ num_hidden_layers: '3' }, 'config.json: num_hidden_layers: '],
  ])('names the path of what is wrong: %j', (wrong, message) => {
    expect(() => readCustomConfig({ ...custom, ...wrong })).toThrow(message)
  })
})
