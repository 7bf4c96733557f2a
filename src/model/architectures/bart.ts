import { UnsupportedModelError } from '../../errors.ts'
import type { ModelConfig, StackName, WeightTable } from '../../types.ts'
import { activationOf } from '../activation.ts'
import type { Architecture, BlockTable, HasTensor, Sizes, StackTable } from '../architecture.ts'
import { countOf, flagOf, layerCountOf, requireValue } from '../configValue.ts'
import type { EmbeddingForm, MultiHeadForm, NormForm } from '../mathematics.ts'
import { seq2SeqClasses } from '../transformersClasses.ts'
import { layerNormWeights, projection } from '../weightTable.ts'
import { headDimOf } from './bert.ts'

/** What BART and Marian differ in. */
export interface BartVariant {
  /** Throws `UnsupportedModelError` where the config asks for other mathematics. */
  check(config: ModelConfig): void
  /** Sizes that are not BART's. */
  sizes?(config: ModelConfig): Sizes
  /** Weights of the embeddings, as roles of a stack where each has its own. */
  embeddingWeights(config: ModelConfig, has: HasTensor): WeightTable
  embedding(config: ModelConfig): EmbeddingForm
}

/** BART: post-norm encoder and decoder, positions learned from row 2 of their table on, a norm behind the embeddings. */
export const bart = bartLike(
  { bart: seq2SeqClasses('bart', 'Bart') },
  {
    check(config) {
      requireValue(config, 'static_position_embeddings', false)
      requireValue(config, 'normalize_embedding', true)
    },
    embeddingWeights: (config, has) => ({
      ...sharedWords(config, has),
      'encoder.embedPositions': ['model.encoder.embed_positions.weight', 'P D'],
      ...layerNormWeights('encoder.embedNorm', 'model.encoder.layernorm_embedding'),
      'decoder.embedPositions': ['model.decoder.embed_positions.weight', 'P D'],
      ...layerNormWeights('decoder.embedNorm', 'model.decoder.layernorm_embedding'),
    }),
    embedding: (config) => ({ positions: { offset: positionOffset, count: bartSizes(config).P }, norm: layerNorm }),
  },
)

/**
 * An encoder-decoder of BART's shape: x ← norm(x + f(x)) for each of two and three branches a layer, whose heads and channels each
 * stack counts for itself.
 */
export function bartLike(transformers: Architecture['transformers'], variant: BartVariant): Architecture {
  return {
    modelTypes: Object.keys(transformers),
    transformers,
    family: 'encoderDecoder',
    spellings: bartSpellings,
    otherKeys: {
      hidden_size: 'd_model',
      num_attention_heads: 'encoder_attention_heads',
      num_hidden_layers: 'encoder_layers',
    },
    sizes(config) {
      requireValue(config, 'normalize_before', false)
      requireValue(config, 'add_final_layer_norm', false)
      variant.check(config)
      return { ...bartSizes(config), ...variant.sizes?.(config) }
    },
    stacks: { encoder: stack('encoder'), decoder: stack('decoder') },
    outer(config, has) {
      refuseClassifiers(has)
      const isTied = flagOf(config, 'tie_word_embeddings', true) || !has('lm_head.weight')
      return {
        ...variant.embeddingWeights(config, has),
        ...(isTied ? {} : { lmHead: ['lm_head.weight', 'V D'] as const }),
        ...(has('final_logits_bias') && { lmHeadBias: ['final_logits_bias', 'U V'] as const }),
      }
    },
    embedding: (config) => ({
      ...(flagOf(config, 'scale_embedding', false) && { scale: Math.sqrt(countOf(config, 'd_model')) }),
      ...variant.embedding(config),
    }),
    head: (_, outer) => ({
      weight: 'lmHead' in outer ? 'lmHead' : 'embedTokens',
      ...('lmHeadBias' in outer && { bias: 'row' as const }),
    }),
  }
}

function stack(name: StackName): StackTable {
  const layer = `model.${name}.layers.{layer}`
  const mlp: BlockTable = {
    kind: 'mlp',
    unit: 'F',
    weights: () => ({
      ...projection('up', `${layer}.fc1`, 'F', 'D', { bias: true }),
      ...projection('down', `${layer}.fc2`, 'D', 'F', { bias: true }),
      ...layerNormWeights('outputNorm', `${layer}.final_layer_norm`),
    }),
    form: (config) => ({
      outputNorm: layerNorm,
      gated: false,
      activation: activationOf(config, 'activation_function', 'gelu'),
      biases: true,
    }),
  }
  const attention = <Kind extends 'attention' | 'crossAttention'>(
    kind: Kind,
    sees: MultiHeadForm['sees'],
    module: string,
  ) => ({
    kind,
    unit: 'K' as const,
    weights: () => ({
      ...projection('q', `${layer}.${module}.q_proj`, '(K E)', 'D', { bias: true }),
      ...projection('k', `${layer}.${module}.k_proj`, '(K E)', 'D', { bias: true }),
      ...projection('v', `${layer}.${module}.v_proj`, '(K E)', 'D', { bias: true }),
      ...projection('o', `${layer}.${module}.out_proj`, 'D', '(K E)', { bias: true }),
      ...layerNormWeights('outputNorm', `${layer}.${module}_layer_norm`),
    }),
    form(config: ModelConfig): MultiHeadForm {
      const headDim = sizesOfStack(config, name).E
      return { sees, outputNorm: layerNorm, headDim, scale: headDim ** -0.5, biases: true }
    },
  })
  return {
    layers: (config) => layerCountOf(config, `${name}_layers`),
    sizes: (config) => sizesOfStack(config, name),
    blocks:
      name === 'encoder'
        ? [attention('attention', 'row', 'self_attn'), mlp]
        : [attention('attention', 'past', 'self_attn'), attention('crossAttention', 'memory', 'encoder_attn'), mlp],
  }
}

function sizesOfStack(config: ModelConfig, name: StackName) {
  const headKey = `${name}_attention_heads`
  const heads = countOf(config, headKey)
  return {
    K: heads,
    E: headDimOf(headKey, countOf(config, 'd_model'), heads),
    F: countOf(config, `${name}_ffn_dim`),
  }
}

/**
 * The embeddings that both stacks read. Where the config ties nothing, those of each stack, beside the shared ones, which
 * transformers keeps although nothing reads them.
 */
export function sharedWords(config: ModelConfig, has: HasTensor): WeightTable {
  const shared = ['model.shared.weight', 'V D'] as const
  const encoder = 'model.encoder.embed_tokens.weight'
  const decoder = 'model.decoder.embed_tokens.weight'
  if (flagOf(config, 'tie_word_embeddings', true) || !has(encoder) || !has(decoder)) return { embedTokens: shared }
  return { embedTokens: [decoder, 'V D'], 'encoder.embedTokens': [encoder, 'W D'], unreadTokens: shared }
}

/** Rows of the table of positions before the first position's. */
const positionOffset = 2

function bartSizes(config: ModelConfig) {
  const words = countOf(config, 'vocab_size')
  return {
    D: countOf(config, 'd_model'),
    /** Words of the decoder; where it has embeddings of its own, Marian counts them apart. */
    V: words,
    /** Words of the encoder, where it has embeddings of its own. */
    W: words,
    P: countOf(config, 'max_position_embeddings') + positionOffset,
    /** The one row of `final_logits_bias`. */
    U: 1,
  }
}

/** Names without `model.`, and the shared embeddings under the name of one of the stacks. */
function bartSpellings(name: string): string[] {
  const names =
    name === 'model.shared.weight'
      ? [name, 'model.encoder.embed_tokens.weight', 'model.decoder.embed_tokens.weight']
      : [name]
  return [...names, ...names.map((spelling) => spelling.replace(/^model\./, ''))]
}

function refuseClassifiers(has: HasTensor): void {
  for (const name of ['classification_head.dense.weight', 'qa_outputs.weight']) {
    if (!has(name)) continue
    throw new UnsupportedModelError(
      `tensor "${name}": a BART with a classifier is not supported, expected one that generates text (BartForConditionalGeneration)`,
    )
  }
}

const layerNorm: NormForm = { type: 'layer', epsilon: 1e-5 }
