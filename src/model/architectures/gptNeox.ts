import type { ModelConfig } from '../../types.ts'
import { activationOf } from '../activation.ts'
import type { Architecture } from '../architecture.ts'
import { countOf, flagOf, layerCountOf, numberOf, requireValue } from '../configValue.ts'
import type { NormForm } from '../mathematics.ts'
import { readRope } from '../rope.ts'
import { withoutPrefix } from '../spelling.ts'
import { decoderClasses } from '../transformersClasses.ts'
import { layerNormWeights, projection } from '../weightTable.ts'

/**
 * GPT-NeoX and Pythia: q, k and v stored head by head in one matrix, rotary positions on a part of each head. Attention and
 * mlp read the same layer input, each through its own norm, unless `use_parallel_residual` is false.
 */
export const gptNeox: Architecture = {
  modelTypes: ['gpt_neox'],
  family: 'decoder',
  transformers: {
    gpt_neox: decoderClasses('gpt_neox', 'GPTNeoX', { parameterNames: { 'embed_out.weight': 'lm_head.weight' } }),
  },
  spellings: (name) => (name === 'embed_out.weight' ? ['lm_head.weight'] : withoutPrefix('gpt_neox.')(name)),
  sizes: neoxSizes,
  stacks: {
    decoder: {
      layers: (config) => layerCountOf(config, 'num_hidden_layers'),
      blocks: [
        {
          kind: 'attention',
          unit: 'K',
          weights: (config) => {
            const bias = flagOf(config, 'attention_bias', true)
            return {
              ...layerNormWeights('norm', `${layer}.input_layernorm`),
              ...projection('q|k|v', `${layer}.attention.query_key_value`, '(K (E | E | E))', 'D', { bias }),
              ...projection('o', `${layer}.attention.dense`, 'D', '(K E)', { bias }),
            }
          },
          form: (config) => {
            const { E } = neoxSizes(config)
            const bias = flagOf(config, 'attention_bias', true)
            return {
              norm: normOf(config),
              positions: { type: 'rotary', rope: readRope(config, E, ropeDefaults) },
              headDim: E,
              groupSize: 1,
              scale: E ** -0.5,
              window: undefined,
              biases: { qkv: bias, o: bias },
            }
          },
        },
        {
          kind: 'mlp',
          unit: 'F',
          weights: () => ({
            ...layerNormWeights('norm', `${layer}.post_attention_layernorm`),
            ...projection('up', `${layer}.mlp.dense_h_to_4h`, 'F', 'D', { bias: true }),
            ...projection('down', `${layer}.mlp.dense_4h_to_h`, 'D', 'F', { bias: true }),
          }),
          form: (config) => ({
            norm: normOf(config),
            gated: false,
            activation: activationOf(config, 'hidden_act', 'gelu'),
            biases: true,
            parallel: flagOf(config, 'use_parallel_residual', true),
          }),
        },
      ],
    },
  },
  outer: (config) => ({
    embedTokens: ['gpt_neox.embed_in.weight', 'V D'],
    ...layerNormWeights('finalNorm', 'gpt_neox.final_layer_norm'),
    ...(isTied(config) ? {} : { lmHead: ['embed_out.weight', 'V D'] as const }),
  }),
  embedding: () => ({}),
  head: (config) => ({ norm: normOf(config), weight: isTied(config) ? 'embedTokens' : 'lmHead' }),
}

const layer = 'gpt_neox.layers.{layer}'

const ropeDefaults = { baseKey: 'rotary_emb_base', shareKey: 'rotary_pct', share: 0.25 }

function neoxSizes(config: ModelConfig) {
  const hidden = countOf(config, 'hidden_size')
  const heads = countOf(config, 'num_attention_heads')
  return {
    D: hidden,
    K: heads,
    E: headDimOf(config, hidden / heads),
    F: countOf(config, 'intermediate_size'),
    V: countOf(config, 'vocab_size'),
  }
}

/** transformers takes a `head_dim` for the frequencies alone, so that another one fits no head. */
function headDimOf(config: ModelConfig, headDim: number): number {
  requireValue(config, 'head_dim', headDim)
  return countOf({ 'hidden_size / num_attention_heads': headDim }, 'hidden_size / num_attention_heads')
}

const normOf = (config: ModelConfig): NormForm => ({ type: 'layer', epsilon: numberOf(config, 'layer_norm_eps', 1e-5) })

const isTied = (config: ModelConfig): boolean => flagOf(config, 'tie_word_embeddings', false)
