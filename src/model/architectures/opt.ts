import { UnsupportedModelError } from '../../errors.ts'
import type { ModelConfig } from '../../types.ts'
import { activationOf } from '../activation.ts'
import type { Architecture } from '../architecture.ts'
import { countOf, flagOf, layerCountOf, requireValue } from '../configValue.ts'
import type { NormForm } from '../forms.ts'
import { withoutPrefix } from '../spelling.ts'
import { decoderClasses } from '../transformersClasses.ts'
import { layerNormWeights, projection } from '../weightTable.ts'

/**
 * OPT: layer norms before every branch, a ReLU mlp, learned positions from row 2 of their table on. OPT-350m, whose norms
 * come after the branches and whose embeddings are narrower than its layers, is refused.
 */
export const opt: Architecture = {
  modelTypes: ['opt'],
  family: 'decoder',
  transformers: { opt: decoderClasses('opt', 'OPT', { headCounts: ['num_heads'] }) },
  spellings: withoutPrefix('model.'),
  sizes(config) {
    requireValue(config, 'do_layer_norm_before', true)
    requireValue(config, '_remove_final_layer_norm', false)
    requireValue(config, 'layer_norm_elementwise_affine', true)
    const sizes = optSizes(config)
    if (countOf(config, 'word_embed_proj_dim', sizes.D) !== sizes.D) {
      throw new UnsupportedModelError(
        `config.json: "word_embed_proj_dim" is ${config['word_embed_proj_dim']}, which is not supported; expected hidden_size, ${sizes.D}`,
      )
    }
    return sizes
  },
  stacks: {
    decoder: {
      layers: (config) => layerCountOf(config, 'num_hidden_layers'),
      blocks: [
        {
          kind: 'attention',
          unit: 'K',
          weights: (config) => {
            const bias = hasBias(config)
            return {
              ...layerNormWeights('norm', `${layer}.self_attn_layer_norm`),
              ...projection('q', `${layer}.self_attn.q_proj`, '(K E)', 'D', { bias }),
              ...projection('k', `${layer}.self_attn.k_proj`, '(K E)', 'D', { bias }),
              ...projection('v', `${layer}.self_attn.v_proj`, '(K E)', 'D', { bias }),
              ...projection('o', `${layer}.self_attn.out_proj`, 'D', '(K E)', { bias }),
            }
          },
          form: (config) => {
            const { E } = optSizes(config)
            return {
              norm,
              positions: { type: 'none' },
              headDim: E,
              groupSize: 1,
              scale: E ** -0.5,
              window: undefined,
              biases: { qkv: hasBias(config), o: hasBias(config) },
            }
          },
        },
        {
          kind: 'mlp',
          unit: 'F',
          weights: (config) => ({
            ...layerNormWeights('norm', `${layer}.final_layer_norm`),
            ...projection('up', `${layer}.fc1`, 'F', 'D', { bias: hasBias(config) }),
            ...projection('down', `${layer}.fc2`, 'D', 'F', { bias: hasBias(config) }),
          }),
          form: (config) => ({
            norm,
            gated: false,
            activation: activationOf(config, 'activation_function', 'relu'),
            biases: hasBias(config),
          }),
        },
      ],
    },
  },
  outer: (config) => ({
    embedTokens: ['model.decoder.embed_tokens.weight', 'V D'],
    embedPositions: ['model.decoder.embed_positions.weight', 'P D'],
    ...layerNormWeights('finalNorm', 'model.decoder.final_layer_norm'),
    ...(isTied(config) ? {} : { lmHead: ['lm_head.weight', 'V D'] as const }),
  }),
  embedding: (config) => ({ positions: { offset: positionOffset, count: optSizes(config).P } }),
  head: (config) => ({ norm, weight: isTied(config) ? 'embedTokens' : 'lmHead' }),
}

const layer = 'model.decoder.layers.{layer}'

/** Rows of the position table before that of position 0. */
const positionOffset = 2

/** OPT's config does not say the ε of its norms. */
const norm: NormForm = { type: 'layer', epsilon: 1e-5 }

function optSizes(config: ModelConfig) {
  const hidden = countOf(config, 'hidden_size')
  const heads = countOf(config, 'num_attention_heads')
  return {
    D: hidden,
    K: heads,
    E: countOf({ 'hidden_size / num_attention_heads': hidden / heads }, 'hidden_size / num_attention_heads'),
    F: countOf(config, 'ffn_dim'),
    V: countOf(config, 'vocab_size'),
    P: countOf(config, 'max_position_embeddings') + positionOffset,
  }
}

const hasBias = (config: ModelConfig): boolean => flagOf(config, 'enable_bias', true)

const isTied = (config: ModelConfig): boolean => flagOf(config, 'tie_word_embeddings', true)
