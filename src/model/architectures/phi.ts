import type { ModelConfig } from '../../types.ts'
import { activationOf } from '../activation.ts'
import type { Architecture } from '../architecture.ts'
import { flagOf, layerCountOf, numberOf } from '../configValue.ts'
import type { NormForm } from '../mathematics.ts'
import { readRope } from '../rope.ts'
import { withoutPrefix } from '../spelling.ts'
import { decoderClasses } from '../transformersClasses.ts'
import { layerNormWeights, projection } from '../weightTable.ts'
import { llamaSizes } from './llama.ts'

/**
 * Phi-1, 1.5 and 2: attention and mlp read the layer's input through one norm, which stays while either branch lives; rotary
 * positions on a part of each head, biases everywhere, the head included.
 */
export const phi: Architecture = {
  modelTypes: ['phi'],
  family: 'decoder',
  transformers: { phi: decoderClasses('phi', 'Phi', { takesHeads: (config) => !hasHeadNorms(config) }) },
  spellings: withoutPrefix('model.'),
  sizes: (config) => llamaSizes(config),
  stacks: {
    decoder: {
      layers: (config) => layerCountOf(config, 'num_hidden_layers'),
      blocks: [
        {
          kind: 'attention',
          unit: 'K',
          weights: (config) => ({
            ...layerNormWeights('norm', `${layer}.input_layernorm`),
            ...projection('q', `${layer}.self_attn.q_proj`, '(K G E)', 'D', { bias: true }),
            ...projection('k', `${layer}.self_attn.k_proj`, '(K E)', 'D', { bias: true }),
            ...projection('v', `${layer}.self_attn.v_proj`, '(K E)', 'D', { bias: true }),
            ...(hasHeadNorms(config) && {
              ...layerNormWeights('qNorm', `${layer}.self_attn.q_layernorm`, 'E'),
              ...layerNormWeights('kNorm', `${layer}.self_attn.k_layernorm`, 'E'),
            }),
            ...projection('o', `${layer}.self_attn.dense`, 'D', '(K G E)', { bias: true }),
          }),
          form: (config) => {
            const { E, G } = llamaSizes(config)
            return {
              norm: normOf(config),
              ...(hasHeadNorms(config) && { headNorm: normOf(config) }),
              positions: { type: 'rotary', rope: readRope(config, E, { share: 0.5 }) },
              headDim: E,
              groupSize: G,
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
            ...layerNormWeights('norm', `${layer}.input_layernorm`),
            ...projection('up', `${layer}.mlp.fc1`, 'F', 'D', { bias: true }),
            ...projection('down', `${layer}.mlp.fc2`, 'D', 'F', { bias: true }),
          }),
          form: (config) => ({
            norm: normOf(config),
            gated: false,
            activation: activationOf(config, 'hidden_act', 'gelu_new'),
            biases: true,
            parallel: true,
          }),
        },
      ],
    },
  },
  outer: (config) => ({
    embedTokens: ['model.embed_tokens.weight', 'V D'],
    ...layerNormWeights('finalNorm', 'model.final_layernorm'),
    ...(isTied(config) ? {} : { lmHead: ['lm_head.weight', 'V D'] as const }),
    lmHeadBias: ['lm_head.bias', 'V'],
  }),
  embedding: () => ({}),
  head: (config) => ({ norm: normOf(config), weight: isTied(config) ? 'embedTokens' : 'lmHead', bias: true }),
}

const layer = 'model.layers.{layer}'

/** transformers gives these norms the size hidden size / heads, whatever head_dim says. */
const hasHeadNorms = (config: ModelConfig): boolean => flagOf(config, 'qk_layernorm', false)

const normOf = (config: ModelConfig): NormForm => ({ type: 'layer', epsilon: numberOf(config, 'layer_norm_eps', 1e-5) })

const isTied = (config: ModelConfig): boolean => flagOf(config, 'tie_word_embeddings', false)
