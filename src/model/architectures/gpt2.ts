import type { ModelConfig } from '../../types.ts'
import { activationOf } from '../activation.ts'
import type { Architecture } from '../architecture.ts'
import { countOf, flagOf, layerCountOf, numberOf, requireValue } from '../configValue.ts'
import type { NormForm } from '../mathematics.ts'
import { withoutPrefix } from '../spelling.ts'
import { layerNormWeights, projection } from '../weightTable.ts'

/** GPT-2 and DistilGPT-2: layer norms, learned positions, matrices stored input first (Conv1D), a tied head. */
export const gpt2: Architecture = {
  modelTypes: ['gpt2'],
  family: 'decoder',
  transformers: {
    gpt2: {
      module: 'gpt2',
      config: 'GPT2Config',
      models: { AutoModel: 'GPT2Model', AutoModelForCausalLM: 'GPT2LMHeadModel' },
      headCounts: ['split_size'],
    },
  },
  spellings: withoutPrefix('transformer.'),
  otherKeys: {
    hidden_size: 'n_embd',
    max_position_embeddings: 'n_positions',
    num_attention_heads: 'n_head',
    num_hidden_layers: 'n_layer',
  },
  sizes(config) {
    requireValue(config, 'add_cross_attention', false)
    return gpt2Sizes(config)
  },
  stacks: {
    decoder: {
      layers: (config) => layerCountOf(config, 'n_layer'),
      blocks: [
        {
          kind: 'attention',
          unit: 'K',
          weights: () => ({
            ...layerNormWeights('norm', `${layer}.ln_1`),
            ...projection('q|k|v', `${layer}.attn.c_attn`, '(K E | K E | K E)', 'D', conv1d),
            ...projection('o', `${layer}.attn.c_proj`, 'D', '(K E)', conv1d),
          }),
          form: (config, layer) => {
            const { E } = gpt2Sizes(config)
            const byHeadDim = flagOf(config, 'scale_attn_weights', true) ? E ** -0.5 : 1
            const byLayer = flagOf(config, 'scale_attn_by_inverse_layer_idx', false) ? 1 / (layer + 1) : 1
            return {
              norm: normOf(config),
              positions: { type: 'none' },
              headDim: E,
              groupSize: 1,
              scale: byHeadDim * byLayer,
              window: undefined,
              biases: { qkv: true, o: true },
              inputFirst: true,
            }
          },
        },
        {
          kind: 'mlp',
          unit: 'F',
          weights: () => ({
            ...layerNormWeights('norm', `${layer}.ln_2`),
            ...projection('up', `${layer}.mlp.c_fc`, 'F', 'D', conv1d),
            ...projection('down', `${layer}.mlp.c_proj`, 'D', 'F', conv1d),
          }),
          form: (config) => ({
            norm: normOf(config),
            gated: false,
            activation: activationOf(config, 'activation_function', 'gelu_new'),
            biases: true,
            inputFirst: true,
          }),
        },
      ],
    },
  },
  outer: (config) => ({
    embedTokens: ['transformer.wte.weight', 'V D'],
    embedPositions: ['transformer.wpe.weight', 'P D'],
    ...layerNormWeights('finalNorm', 'transformer.ln_f'),
    ...(isTied(config) ? {} : { lmHead: ['lm_head.weight', 'V D'] as const }),
  }),
  embedding: (config) => ({ positions: { offset: 0, count: gpt2Sizes(config).P } }),
  head: (config) => ({ norm: normOf(config), weight: isTied(config) ? 'embedTokens' : 'lmHead' }),
}

const layer = 'transformer.h.{layer}'
const conv1d = { bias: true, inputFirst: true }

function gpt2Sizes(config: ModelConfig) {
  const hidden = countOf(config, 'n_embd')
  const heads = countOf(config, 'n_head')
  return {
    D: hidden,
    K: heads,
    E: countOf({ 'n_embd / n_head': hidden / heads }, 'n_embd / n_head'),
    F: countOf(config, 'n_inner', 4 * hidden),
    V: countOf(config, 'vocab_size'),
    P: countOf(config, 'n_positions', 1024),
  }
}

const normOf = (config: ModelConfig): NormForm => ({
  type: 'layer',
  epsilon: numberOf(config, 'layer_norm_epsilon', 1e-5),
})

const isTied = (config: ModelConfig): boolean => flagOf(config, 'tie_word_embeddings', true)
