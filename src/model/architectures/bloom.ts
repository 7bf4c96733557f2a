import type { ModelConfig } from '../../types.ts'
import { alibiSlopes } from '../alibi.ts'
import type { Architecture } from '../architecture.ts'
import { countOf, flagOf, layerCountOf, numberOf, requireValue } from '../configValue.ts'
import type { NormForm } from '../mathematics.ts'
import { withoutPrefix } from '../spelling.ts'
import { decoderClasses } from '../transformersClasses.ts'
import { layerNormWeights, projection } from '../weightTable.ts'

/** Bloom and Bloomz: ALiBi, q, k and v stored head by head in one matrix, a norm on the embeddings, a tied head. */
export const bloom: Architecture = {
  modelTypes: ['bloom'],
  family: 'decoder',
  transformers: { bloom: decoderClasses('bloom', 'Bloom', { headCounts: ['num_heads'], headInputs: () => ['alibi'] }) },
  spellings: withoutPrefix('transformer.'),
  // the first configs say `n_embed` and `num_attention_heads`, the later ones `hidden_size` and `n_head`
  otherKeys: { n_embed: 'hidden_size', num_attention_heads: 'n_head', num_hidden_layers: 'n_layer' },
  sizes(config) {
    requireValue(config, 'apply_residual_connection_post_layernorm', false)
    // transformers then leaves out the biases of the output matrices
    if (countOf(config, 'pretraining_tp', 1) > 1) requireValue(config, 'slow_but_exact', false)
    return bloomSizes(config)
  },
  stacks: {
    decoder: {
      layers: (config) => layerCountOf(config, 'n_layer'),
      blocks: [
        {
          kind: 'attention',
          unit: 'K',
          weights: () => ({
            ...layerNormWeights('norm', `${layer}.input_layernorm`),
            ...projection('q|k|v', `${layer}.self_attention.query_key_value`, '(K (E | E | E))', 'D', { bias: true }),
            ...projection('o', `${layer}.self_attention.dense`, 'D', '(K E)', { bias: true }),
          }),
          form: (config) => {
            const { K, E } = bloomSizes(config)
            return {
              norm: normOf(config),
              positions: { type: 'alibi', slopes: alibiSlopes(K), factor: 1 },
              headDim: E,
              groupSize: 1,
              scale: E ** -0.5,
              window: undefined,
              biases: { qkv: true, o: true },
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
          form: (config) => ({ norm: normOf(config), gated: false, activation: 'geluTanh', biases: true }),
        },
      ],
    },
  },
  outer: (config) => ({
    embedTokens: ['transformer.word_embeddings.weight', 'V D'],
    ...layerNormWeights('embedNorm', 'transformer.word_embeddings_layernorm'),
    ...layerNormWeights('finalNorm', 'transformer.ln_f'),
    ...(isTied(config) ? {} : { lmHead: ['lm_head.weight', 'V D'] as const }),
  }),
  embedding: (config) => ({ norm: normOf(config) }),
  head: (config) => ({ norm: normOf(config), weight: isTied(config) ? 'embedTokens' : 'lmHead' }),
}

const layer = 'transformer.h.{layer}'

function bloomSizes(config: ModelConfig) {
  const hidden = countOf(config, 'hidden_size')
  const heads = countOf(config, 'n_head')
  return {
    D: hidden,
    K: heads,
    G: 1,
    E: countOf({ 'hidden_size / n_head': hidden / heads }, 'hidden_size / n_head'),
    F: 4 * hidden,
    V: countOf(config, 'vocab_size'),
  }
}

const normOf = (config: ModelConfig): NormForm => ({
  type: 'layer',
  epsilon: numberOf(config, 'layer_norm_epsilon', 1e-5),
})

const isTied = (config: ModelConfig): boolean => flagOf(config, 'tie_word_embeddings', true)
