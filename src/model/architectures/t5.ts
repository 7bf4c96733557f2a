import { UnsupportedModelError } from '../../errors.ts'
import type { ModelConfig, StackName, WeightTable } from '../../types.ts'
import type { Architecture, BlockTable, HasTensor } from '../architecture.ts'
import { choiceOf, countOf, flagOf, layerCountOf, numberOf } from '../configValue.ts'
import type { Activation, MultiHeadForm, NormForm, PositionBiasForm } from '../mathematics.ts'
import { seq2SeqClasses, type TransformersClasses } from '../transformersClasses.ts'
import { projection } from '../weightTable.ts'

/** Layer 0's attention makes the position bias of all layers, so it goes on doing that when it has lost its heads. */
const attentionCode = `class Attention(T5Attention):
    """Makes the position bias of all heads or hands it on, and takes the part of the heads that are left to itself."""

    @classmethod
    def adopt(cls, attention, heads):
        attention.__class__, attention.heads = cls, heads

    def forward(self, hidden_states, mask=None, position_bias=None, past_key_values=None, **inputs):
        if position_bias is None and self.has_relative_attention_bias:
            queries = hidden_states.shape[1]
            cache = getattr(past_key_values, "self_attention_cache", past_key_values)
            seen = 0 if cache is None else cache.get_seq_length()
            keys = queries if cache is None else cache.get_mask_sizes(queries, 0)[0]
            position_bias = self.compute_bias(queries, keys, hidden_states.device, seen)
        if not self.heads:
            nothing, _ = self.nothing(hidden_states, past_key_values=past_key_values)
            return nothing, position_bias, None
        own_bias = None if position_bias is None else position_bias[:, self.heads]
        attended, _, weights = super().forward(
            hidden_states, mask, position_bias=own_bias, past_key_values=past_key_values, **inputs
        )
        return attended, position_bias, weights

    def lose_heads(self, nothing):
        del self.q, self.k, self.v, self.o
        self.nothing = nothing`

const layersOf: Readonly<Record<StackName, (config: ModelConfig) => number>> = {
  encoder: (config) => layerCountOf(config, 'num_layers'),
  decoder: (config) => layerCountOf(config, config['num_decoder_layers'] == null ? 'num_layers' : 'num_decoder_layers'),
}

const classes: TransformersClasses = {
  ...seq2SeqClasses('t5', 'T5'),
  headCounts: ['n_heads'],
  // transformers makes the decoder's cache for as many layers as the encoder has
  takesDepths: (config) => layersOf.decoder(config) <= layersOf.encoder(config),
  configCode: `    def get_text_config(self, decoder=None, encoder=None):
        config = super().get_text_config(decoder=decoder, encoder=encoder)
        if decoder and not encoder:
            config.num_layers = self.num_decoder_layers  # a copy; the cache has as many places
        return config`,
  attention: { imports: ['T5Attention'], code: () => attentionCode },
}

/**
 * T5, its version 1.1 and Flan-T5: RMS norms without bias, scores without scale but with a position bias that layer 0 of each
 * stack stores for all, a plain or a gated mlp.
 */
export const t5: Architecture = {
  modelTypes: ['t5'],
  family: 'encoderDecoder',
  transformers: { t5: classes },
  spellings: (name) => (name === 'shared.weight' ? ['encoder.embed_tokens.weight', 'decoder.embed_tokens.weight'] : []),
  otherKeys: {
    hidden_size: 'd_model',
    num_attention_heads: 'num_heads',
    num_hidden_layers: 'num_layers',
    head_dim: 'd_kv',
  },
  sizes,
  stacks: {
    encoder: {
      layers: layersOf.encoder,
      blocks: [
        attention('attention', 'row', 'encoder.block.{layer}.layer.0', 'SelfAttention'),
        mlp('encoder.block.{layer}.layer.1'),
      ],
      finalNorm: normOf,
      positionBias: (config) => positionBias(config, 'encoder'),
    },
    decoder: {
      layers: layersOf.decoder,
      blocks: [
        attention('attention', 'past', 'decoder.block.{layer}.layer.0', 'SelfAttention'),
        attention('crossAttention', 'memory', 'decoder.block.{layer}.layer.1', 'EncDecAttention'),
        mlp('decoder.block.{layer}.layer.2'),
      ],
      positionBias: (config) => positionBias(config, 'decoder'),
    },
  },
  outer(config, has) {
    refuseClassifiers(has)
    const bias = 'block.0.layer.0.SelfAttention.relative_attention_bias.weight'
    return {
      embedTokens: ['shared.weight', 'V D'],
      ...(layersOf.encoder(config) > 0 && { 'encoder.positionBias': [`encoder.${bias}`, 'R K'] as const }),
      'encoder.finalNorm': ['encoder.final_layer_norm.weight', 'D'],
      ...(layersOf.decoder(config) > 0 && { 'decoder.positionBias': [`decoder.${bias}`, 'R K'] as const }),
      finalNorm: ['decoder.final_layer_norm.weight', 'D'],
      ...(has('lm_head.weight') && { lmHead: ['lm_head.weight', 'V D'] as const }),
    }
  },
  embedding: () => ({}),
  head(config, outer) {
    // transformers 5 says it outright; before, a tied head meant it
    const isScaled = flagOf(config, 'scale_decoder_outputs', flagOf(config, 'tie_word_embeddings', true))
    return {
      norm: normOf(config),
      ...(isScaled && { scale: countOf(config, 'd_model') ** -0.5 }),
      weight: 'lmHead' in outer ? 'lmHead' : 'embedTokens',
    }
  },
}

/** Every value of `feed_forward_proj` we compute. `gated-gelu` is, for history's sake, the tanh form. */
const feedForwards: Readonly<Record<string, { readonly gated: boolean; readonly activation: Activation }>> = {
  relu: { gated: false, activation: 'relu' },
  gelu: { gated: false, activation: 'gelu' },
  gelu_new: { gated: false, activation: 'geluTanh' },
  silu: { gated: false, activation: 'silu' },
  'gated-relu': { gated: true, activation: 'relu' },
  'gated-gelu': { gated: true, activation: 'geluTanh' },
  'gated-gelu_new': { gated: true, activation: 'geluTanh' },
  'gated-silu': { gated: true, activation: 'silu' },
}

const feedForwardOf = (config: ModelConfig) =>
  feedForwards[choiceOf(config, 'feed_forward_proj', Object.keys(feedForwards), 'relu')]!

function attention<Kind extends 'attention' | 'crossAttention'>(
  kind: Kind,
  sees: MultiHeadForm['sees'],
  layer: string,
  module: string,
) {
  return {
    kind,
    unit: 'K' as const,
    weights: (): WeightTable => ({
      norm: [`${layer}.layer_norm.weight`, 'D'],
      ...projection('q', `${layer}.${module}.q`, '(K E)', 'D'),
      ...projection('k', `${layer}.${module}.k`, '(K E)', 'D'),
      ...projection('v', `${layer}.${module}.v`, '(K E)', 'D'),
      ...projection('o', `${layer}.${module}.o`, 'D', '(K E)'),
    }),
    form: (config: ModelConfig): MultiHeadForm => ({
      sees,
      norm: normOf(config),
      headDim: sizes(config)['E']!,
      scale: 1,
      biases: false,
      ...(sees !== 'memory' && { positionBias: { heads: sizes(config)['K']! } }),
    }),
  }
}

function mlp(layer: string): BlockTable {
  return {
    kind: 'mlp',
    unit: 'F',
    weights: (config) => ({
      norm: [`${layer}.layer_norm.weight`, 'D'],
      ...(feedForwardOf(config).gated
        ? {
            ...projection('gate', `${layer}.DenseReluDense.wi_0`, 'F', 'D'),
            ...projection('up', `${layer}.DenseReluDense.wi_1`, 'F', 'D'),
          }
        : projection('up', `${layer}.DenseReluDense.wi`, 'F', 'D')),
      ...projection('down', `${layer}.DenseReluDense.wo`, 'D', 'F'),
    }),
    form: (config) => ({ norm: normOf(config), ...feedForwardOf(config), biases: false }),
  }
}

function sizes(config: ModelConfig) {
  return {
    D: countOf(config, 'd_model'),
    K: countOf(config, 'num_heads'),
    E: countOf(config, 'd_kv'),
    F: countOf(config, 'd_ff'),
    V: countOf(config, 'vocab_size'),
    R: countOf(config, 'relative_attention_num_buckets', 32),
  }
}

/** None where the stack has no layer: layer 0 stores it. */
function positionBias(config: ModelConfig, stack: StackName): PositionBiasForm | undefined {
  if (layersOf[stack](config) === 0) return undefined
  return {
    buckets: sizes(config).R,
    maxDistance: countOf(config, 'relative_attention_max_distance', 128),
    bothDirections: stack === 'encoder',
  }
}

function refuseClassifiers(has: HasTensor): void {
  for (const name of ['classification_head.dense.weight', 'classifier.weight', 'qa_outputs.weight']) {
    if (!has(name)) continue
    throw new UnsupportedModelError(
      `tensor "${name}": a T5 with a classifier is not supported, expected one that generates text (T5ForConditionalGeneration)`,
    )
  }
}

function normOf(config: ModelConfig): NormForm {
  return { type: 'rms', epsilon: numberOf(config, 'layer_norm_epsilon', 1e-6) }
}
