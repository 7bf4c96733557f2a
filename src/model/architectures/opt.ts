import type { ModelConfig } from '../../types.ts'
import { activationOf } from '../activation.ts'
import type { Architecture } from '../architecture.ts'
import { countOf, flagOf, layerCountOf, requireValue } from '../configValue.ts'
import type { NormForm } from '../mathematics.ts'
import { withoutPrefix } from '../spelling.ts'
import { decoderClasses } from '../transformersClasses.ts'
import { layerNormWeights, projection } from '../weightTable.ts'

/**
 * OPT: layer norms before every branch, a ReLU mlp, learned positions from row 2 of their table on. OPT-350m has its norms behind
 * the branches, none before its head, and embeddings narrower than its layers.
 */
export const opt: Architecture = {
  modelTypes: ['opt'],
  family: 'decoder',
  transformers: { opt: decoderClasses('opt', 'OPT', { headCounts: ['num_heads'] }) },
  spellings: withoutPrefix('model.'),
  sizes(config) {
    requireValue(config, 'layer_norm_elementwise_affine', true)
    return optSizes(config)
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
              ...layerNormWeights(normRole(config), `${layer}.self_attn_layer_norm`),
              ...projection('q', `${layer}.self_attn.q_proj`, '(K E)', 'D', { bias }),
              ...projection('k', `${layer}.self_attn.k_proj`, '(K E)', 'D', { bias }),
              ...projection('v', `${layer}.self_attn.v_proj`, '(K E)', 'D', { bias }),
              ...projection('o', `${layer}.self_attn.out_proj`, 'D', '(K E)', { bias }),
            }
          },
          form: (config) => {
            const { E } = optSizes(config)
            return {
              [normRole(config)]: norm,
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
            ...layerNormWeights(normRole(config), `${layer}.final_layer_norm`),
            ...projection('up', `${layer}.fc1`, 'F', 'D', { bias: hasBias(config) }),
            ...projection('down', `${layer}.fc2`, 'D', 'F', { bias: hasBias(config) }),
          }),
          form: (config) => ({
            [normRole(config)]: norm,
            gated: false,
            activation: activationOf(config, 'activation_function', 'relu'),
            biases: hasBias(config),
          }),
        },
      ],
    },
  },
  outer: (config) => ({
    embedTokens: ['model.decoder.embed_tokens.weight', 'V N'],
    ...(isProjected(config)
      ? {
          embedProj: ['model.decoder.project_in.weight', 'D N'] as const,
          unembedProj: ['model.decoder.project_out.weight', 'N D'] as const,
        }
      : {}),
    embedPositions: ['model.decoder.embed_positions.weight', 'P D'],
    ...(hasFinalNorm(config) ? layerNormWeights('finalNorm', 'model.decoder.final_layer_norm') : {}),
    ...(isTied(config) ? {} : { lmHead: ['lm_head.weight', 'V N'] as const }),
  }),
  embedding: (config) => ({
    ...(isProjected(config) && { isProjected: true }),
    positions: { offset: positionOffset, count: optSizes(config).P },
  }),
  head: (config) => ({
    ...(hasFinalNorm(config) && { norm }),
    ...(isProjected(config) && { isProjected: true }),
    weight: isTied(config) ? 'embedTokens' : 'lmHead',
  }),
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
    /** Width of the embeddings. */
    N: countOf(config, 'word_embed_proj_dim', hidden),
    P: countOf(config, 'max_position_embeddings') + positionOffset,
  }
}

const isNormFirst = (config: ModelConfig): boolean => flagOf(config, 'do_layer_norm_before', true)

/** Where the norm of a branch is: before it, or behind the sum. */
const normRole = (config: ModelConfig) => (isNormFirst(config) ? 'norm' : 'outputNorm')

const hasFinalNorm = (config: ModelConfig): boolean =>
  isNormFirst(config) && !flagOf(config, '_remove_final_layer_norm', false)

const isProjected = (config: ModelConfig): boolean => {
  const { D, N } = optSizes(config)
  return N !== D
}

const hasBias = (config: ModelConfig): boolean => flagOf(config, 'enable_bias', true)

const isTied = (config: ModelConfig): boolean => flagOf(config, 'tie_word_embeddings', true)
