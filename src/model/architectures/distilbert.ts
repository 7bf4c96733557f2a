import type { ModelConfig } from '../../types.ts'
import { activationOf } from '../activation.ts'
import type { Architecture } from '../architecture.ts'
import { classifierWeights, classOutputs, extraHeads, headOfRoles } from '../classifierHead.ts'
import { countOf, flagOf, layerCountOf } from '../configValue.ts'
import type { NormForm } from '../mathematics.ts'
import { withoutPrefix } from '../spelling.ts'
import { encoderClasses } from '../transformersClasses.ts'
import { layerNormWeights, projection } from '../weightTable.ts'
import { headDimOf } from './bert.ts'

const layer = 'distilbert.transformer.layer.{layer}'

/** DistilBERT: BERT's mathematics without token types and pooler, under names of its own. */
export const distilbert: Architecture = {
  modelTypes: ['distilbert'],
  family: 'encoder',
  transformers: { distilbert: encoderClasses('distilbert', 'DistilBert') },
  spellings: withoutPrefix('distilbert.'),
  otherKeys: { hidden_size: 'dim', num_attention_heads: 'n_heads', num_hidden_layers: 'n_layers' },
  sizes,
  stacks: {
    encoder: {
      layers: (config) => layerCountOf(config, 'n_layers'),
      blocks: [
        {
          kind: 'attention',
          unit: 'K',
          weights: () => ({
            ...projection('q', `${layer}.attention.q_lin`, '(K E)', 'D', { bias: true }),
            ...projection('k', `${layer}.attention.k_lin`, '(K E)', 'D', { bias: true }),
            ...projection('v', `${layer}.attention.v_lin`, '(K E)', 'D', { bias: true }),
            ...projection('o', `${layer}.attention.out_lin`, 'D', '(K E)', { bias: true }),
            ...layerNormWeights('outputNorm', `${layer}.sa_layer_norm`),
          }),
          form(config) {
            const headDim = sizes(config)['E']!
            return { sees: 'row', outputNorm: layerNorm, headDim, scale: headDim ** -0.5, biases: true }
          },
        },
        {
          kind: 'mlp',
          unit: 'F',
          weights: () => ({
            ...projection('up', `${layer}.ffn.lin1`, 'F', 'D', { bias: true }),
            ...projection('down', `${layer}.ffn.lin2`, 'D', 'F', { bias: true }),
            ...layerNormWeights('outputNorm', `${layer}.output_layer_norm`),
          }),
          form: (config) => ({ outputNorm: layerNorm, gated: false, activation: activation(config), biases: true }),
        },
      ],
    },
  },
  outer: (config, has) => ({
    embedTokens: ['distilbert.embeddings.word_embeddings.weight', 'V D'],
    embedPositions: ['distilbert.embeddings.position_embeddings.weight', 'P D'],
    ...layerNormWeights('embedNorm', 'distilbert.embeddings.LayerNorm'),
    ...(has('vocab_transform.weight')
      ? {
          ...projection('head', 'vocab_transform', 'D', 'D', { bias: true }),
          ...layerNormWeights('headNorm', 'vocab_layer_norm'),
          ...(!flagOf(config, 'tie_word_embeddings', true) &&
            has('vocab_projector.weight') && { lmHead: ['vocab_projector.weight', 'V D'] as const }),
          lmHeadBias: ['vocab_projector.bias', 'V'],
        }
      : classifierWeights(has, { dense: 'pre_classifier', output: 'classifier' })),
    ...extraHeads(has),
  }),
  embedding: (config) => ({ positions: { offset: 0, count: sizes(config)['P']! }, norm: layerNorm }),
  head: (config, outer) =>
    headOfRoles(config, outer, {
      masked: { activation: activation(config), norm: layerNorm },
      row: { activation: 'relu' },
    }),
}

function sizes(config: ModelConfig) {
  const hidden = countOf(config, 'dim', 768)
  const heads = countOf(config, 'n_heads', 12)
  return {
    D: hidden,
    K: heads,
    E: headDimOf('n_heads', hidden, heads),
    F: countOf(config, 'hidden_dim', 4 * hidden),
    V: countOf(config, 'vocab_size'),
    P: countOf(config, 'max_position_embeddings', 512),
    ...classOutputs(config),
  }
}

const activation = (config: ModelConfig) => activationOf(config, 'activation', 'gelu')

/** The ε is fixed in transformers' code, not in the config. */
const layerNorm: NormForm = { type: 'layer', epsilon: 1e-12 }
