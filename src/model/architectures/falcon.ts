import { UnsupportedModelError } from '../../errors.ts'
import type { ModelConfig } from '../../types.ts'
import { activationOf } from '../activation.ts'
import { alibiSlopes } from '../alibi.ts'
import type { Architecture } from '../architecture.ts'
import { choiceOf, countOf, flagOf, layerCountOf, numberOf, requireValue } from '../configValue.ts'
import type { NormForm, Positions } from '../mathematics.ts'
import { readRope } from '../rope.ts'
import { withoutPrefix } from '../spelling.ts'
import { decoderClasses } from '../transformersClasses.ts'
import { layerNormWeights, projection } from '../weightTable.ts'

/**
 * Falcon. Three layouts, told apart by the config:
 *
 * | | key/value heads | norms before attention and mlp |
 * |---|---|---|
 * | `new_decoder_architecture` (40B, 180B, 11B) | `num_kv_heads` | `ln_attn` and `ln_mlp`, or one for both |
 * | `multi_query` (7B) | 1 | one for both |
 * | neither (RW) | as many as query heads | two, one after the other, unless `parallel_attn` |
 *
 * In all of them q, k and v are stored group by group in one matrix.
 */
export const falcon: Architecture = {
  modelTypes: ['falcon'],
  family: 'decoder',
  transformers: {
    falcon: decoderClasses('falcon', 'Falcon', {
      headCounts: ['num_heads', 'num_kv_heads'],
      // the mask has ALiBi's biases in it
      headInputs: (config) => (flagOf(config, 'alibi', false) ? ['alibi', 'attention_mask'] : []),
    }),
  },
  spellings: withoutPrefix('transformer.'),
  otherKeys: { n_embed: 'hidden_size' },
  sizes: falconSizes,
  stacks: {
    decoder: {
      layers: (config) => layerCountOf(config, 'num_hidden_layers'),
      blocks: [
        {
          kind: 'attention',
          unit: 'K',
          weights: (config) => ({
            ...layerNormWeights('norm', `${layer}.${normNames[normLayoutOf(config)].attention}`),
            ...projection('q|k|v', `${layer}.self_attention.query_key_value`, '(K (G E | E | E))', 'D', biasOf(config)),
            ...projection('o', `${layer}.self_attention.dense`, 'D', '(K G E)', biasOf(config)),
          }),
          form: (config) => {
            const { E, G } = falconSizes(config)
            const { bias } = biasOf(config)
            return {
              norm: normOf(config),
              positions: positionsOf(config),
              headDim: E,
              groupSize: G,
              scale: E ** -0.5,
              window: undefined,
              biases: { qkv: bias, o: bias },
            }
          },
        },
        {
          kind: 'mlp',
          unit: 'F',
          weights: (config) => ({
            ...layerNormWeights('norm', `${layer}.${normNames[normLayoutOf(config)].mlp}`),
            ...projection('up', `${layer}.mlp.dense_h_to_4h`, 'F', 'D', biasOf(config)),
            ...projection('down', `${layer}.mlp.dense_4h_to_h`, 'D', 'F', biasOf(config)),
          }),
          form: (config) => ({
            norm: normOf(config),
            gated: false,
            activation: activationOf(config, 'activation', 'gelu'),
            biases: biasOf(config).bias,
            parallel: normLayoutOf(config) !== 'sequential',
          }),
        },
      ],
    },
  },
  outer: (config) => ({
    embedTokens: ['transformer.word_embeddings.weight', 'V D'],
    ...layerNormWeights('finalNorm', 'transformer.ln_f'),
    ...(isTied(config) ? {} : { lmHead: ['lm_head.weight', 'V D'] as const }),
  }),
  embedding: () => ({}),
  head: (config) => ({ norm: normOf(config), weight: isTied(config) ? 'embedTokens' : 'lmHead' }),
}

const layer = 'transformer.h.{layer}'

type NormLayout = 'sequential' | 'shared' | 'own'

const normNames: Record<NormLayout, { readonly attention: string; readonly mlp: string }> = {
  sequential: { attention: 'input_layernorm', mlp: 'post_attention_layernorm' },
  shared: { attention: 'input_layernorm', mlp: 'input_layernorm' },
  own: { attention: 'ln_attn', mlp: 'ln_mlp' },
}

function normLayoutOf(config: ModelConfig): NormLayout {
  const isNew = flagOf(config, 'new_decoder_architecture', false)
  if (!flagOf(config, 'parallel_attn', true)) {
    if (!isNew) return 'sequential'
    throw new UnsupportedModelError(
      'config.json: "parallel_attn" is false beside "new_decoder_architecture", which is not supported; expected true',
    )
  }
  if (!isNew) {
    requireValue(config, 'num_ln_in_parallel_attn', 1)
    return 'shared'
  }
  const norms = countOf(config, 'num_ln_in_parallel_attn', 2)
  return choiceOf({ num_ln_in_parallel_attn: `${norms}` }, 'num_ln_in_parallel_attn', ['1', '2']) === '1'
    ? 'shared'
    : 'own'
}

/** Unlike Bloom's, ALiBi's bias is divided by √E as the scores are, and computed in bfloat16 whatever the model's type. */
function positionsOf(config: ModelConfig): Positions {
  const { K, G, E } = falconSizes(config)
  if (!flagOf(config, 'alibi', false)) return { type: 'rotary', rope: readRope(config, E) }
  return { type: 'alibi', slopes: alibiSlopes(K * G), factor: E ** -0.5, rounds: 'bfloat16' }
}

function falconSizes(config: ModelConfig) {
  const hidden = countOf(config, 'hidden_size')
  const heads = countOf(config, 'num_attention_heads')
  const kvHeads = kvHeadsOf(config, heads)
  if (heads % kvHeads !== 0) {
    throw new UnsupportedModelError(
      `config.json: num_attention_heads is ${heads}, expected a multiple of num_kv_heads, ${kvHeads}`,
    )
  }
  normLayoutOf(config)
  return {
    D: hidden,
    K: kvHeads,
    G: heads / kvHeads,
    E: countOf({ 'hidden_size / num_attention_heads': hidden / heads }, 'hidden_size / num_attention_heads'),
    F: countOf(config, 'ffn_hidden_size', 4 * hidden),
    V: countOf(config, 'vocab_size'),
  }
}

function kvHeadsOf(config: ModelConfig, heads: number): number {
  if (flagOf(config, 'new_decoder_architecture', false)) return countOf(config, 'num_kv_heads', heads)
  return flagOf(config, 'multi_query', true) ? 1 : heads
}

const biasOf = (config: ModelConfig) => ({ bias: flagOf(config, 'bias', false) })

const normOf = (config: ModelConfig): NormForm => ({
  type: 'layer',
  epsilon: numberOf(config, 'layer_norm_epsilon', 1e-5),
})

const isTied = (config: ModelConfig): boolean => flagOf(config, 'tie_word_embeddings', true)
