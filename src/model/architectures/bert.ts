import { UnsupportedModelError } from '../../errors.ts'
import type { ModelConfig, WeightTable } from '../../types.ts'
import { activationOf } from '../activation.ts'
import type { Architecture, HasTensor } from '../architecture.ts'
import { classifierWeights, classOutputs, extraHeads, headOfRoles } from '../classifierHead.ts'
import { countOf, flagOf, layerCountOf, numberOf, requireValue } from '../configValue.ts'
import type { Activation, NormForm } from '../mathematics.ts'
import { withoutPrefix } from '../spelling.ts'
import { encoderClasses } from '../transformersClasses.ts'
import { layerNormWeights, projection } from '../weightTable.ts'

/** What BERT and RoBERTa differ in. */
export interface BertVariant {
  /** What names begin with in a checkpoint of a model with a head: `bert.`. */
  readonly prefix: string
  /** Where positions begin in their table, and which id they do not count. */
  positions(config: ModelConfig): { readonly offset: number; readonly uncounted?: number }
  /** Tensors of the masked-LM head and their common prefix. */
  readonly maskedHead: {
    readonly dense: string
    readonly norm: string
    readonly decoder: string
    readonly bias: string
  }
  /** The activation inside the masked-LM head. */
  maskedActivation(config: ModelConfig): Activation
  /** Names of the layer before the classifier and of the classifier, for one class a row. */
  readonly rowClassifier: { readonly dense: string; readonly output: string }
}

/** BERT: post-norm encoder with learned positions; with a masked-LM head, a classifier or none. */
export const bert = bertLike(
  { bert: encoderClasses('bert', 'Bert', { AutoModelForPreTraining: 'BertForPreTraining' }) },
  {
    prefix: 'bert.',
    positions: () => ({ offset: 0 }),
    maskedHead: {
      dense: 'cls.predictions.transform.dense',
      norm: 'cls.predictions.transform.LayerNorm',
      decoder: 'cls.predictions.decoder.weight',
      bias: 'cls.predictions.bias',
    },
    maskedActivation: (config) => activationOf(config, 'hidden_act', 'gelu'),
    rowClassifier: { dense: 'bert.pooler.dense', output: 'classifier' },
  },
)

/** An encoder of BERT's shape: x ← norm(x + f(x)) for attention and mlp. */
export function bertLike(transformers: Architecture['transformers'], variant: BertVariant): Architecture {
  const { prefix, maskedHead, rowClassifier } = variant
  const layer = `${prefix}encoder.layer.{layer}`
  const embeddings = `${prefix}embeddings`
  const unprefixed = withoutPrefix(prefix)
  return {
    modelTypes: Object.keys(transformers),
    transformers,
    family: 'encoder',
    // checkpoints converted from TensorFlow call the scale and bias of a norm gamma and beta
    spellings: (name) => [name, ...unprefixed(name), ...biasSpellings(name)].flatMap((n) => [n, tensorFlowName(n)]),
    sizes: bertSizes,
    stacks: {
      encoder: {
        layers: (config) => layerCountOf(config, 'num_hidden_layers'),
        blocks: [
          {
            kind: 'attention',
            unit: 'K',
            weights: () => ({
              ...projection('q', `${layer}.attention.self.query`, '(K E)', 'D', { bias: true }),
              ...projection('k', `${layer}.attention.self.key`, '(K E)', 'D', { bias: true }),
              ...projection('v', `${layer}.attention.self.value`, '(K E)', 'D', { bias: true }),
              ...projection('o', `${layer}.attention.output.dense`, 'D', '(K E)', { bias: true }),
              ...layerNormWeights('outputNorm', `${layer}.attention.output.LayerNorm`),
            }),
            form(config) {
              const headDim = bertSizes(config)['E']!
              return { sees: 'row', outputNorm: normOf(config), headDim, scale: headDim ** -0.5, biases: true }
            },
          },
          {
            kind: 'mlp',
            unit: 'F',
            weights: () => ({
              ...projection('up', `${layer}.intermediate.dense`, 'F', 'D', { bias: true }),
              ...projection('down', `${layer}.output.dense`, 'D', 'F', { bias: true }),
              ...layerNormWeights('outputNorm', `${layer}.output.LayerNorm`),
            }),
            form: (config) => ({
              outputNorm: normOf(config),
              gated: false,
              activation: activationOf(config, 'hidden_act', 'gelu'),
              biases: true,
            }),
          },
        ],
      },
    },
    outer: (config, has) => ({
      embedTokens: [`${embeddings}.word_embeddings.weight`, 'V D'],
      embedPositions: [`${embeddings}.position_embeddings.weight`, 'P D'],
      tokenTypes: [`${embeddings}.token_type_embeddings.weight`, 'A D'],
      ...layerNormWeights('embedNorm', `${embeddings}.LayerNorm`),
      ...(has(`${maskedHead.dense}.weight`)
        ? maskedHeadWeights(config, variant, has)
        : classifierWeights(has, rowClassifier)),
      ...extraHeads(has, `${prefix}pooler.dense`),
    }),
    embedding: (config) => ({
      positions: { ...variant.positions(config), count: bertSizes(config)['P']! },
      tokenTypes: true,
      norm: normOf(config),
    }),
    head: (config, outer) =>
      headOfRoles(config, outer, {
        masked: { activation: variant.maskedActivation(config), norm: normOf(config) },
        row: { activation: 'tanh' },
      }),
  }

  function biasSpellings(name: string): string[] {
    return name === maskedHead.bias ? [maskedHead.decoder.replace(/weight$/, 'bias')] : []
  }
}

function maskedHeadWeights(config: ModelConfig, { maskedHead }: BertVariant, has: HasTensor): WeightTable {
  const isTied = flagOf(config, 'tie_word_embeddings', true) || !has(maskedHead.decoder)
  // tied, the two are one; else the head adds its own, and a checkpoint has the other for nothing
  const ownBias = maskedHead.decoder.replace(/weight$/, 'bias')
  const hasBoth = !isTied && has(ownBias) && has(maskedHead.bias)
  return {
    ...projection('head', maskedHead.dense, 'D', 'D', { bias: true }),
    ...layerNormWeights('headNorm', maskedHead.norm),
    ...(isTied ? {} : { lmHead: [maskedHead.decoder, 'V D'] as const }),
    lmHeadBias: [hasBoth ? ownBias : maskedHead.bias, 'V'],
    ...(hasBoth ? { unreadBias: [maskedHead.bias, 'V'] as const } : {}),
  }
}

function bertSizes(config: ModelConfig) {
  requireValue(config, 'position_embedding_type', 'absolute')
  requireValue(config, 'is_decoder', false)
  requireValue(config, 'add_cross_attention', false)
  const hidden = countOf(config, 'hidden_size')
  const heads = countOf(config, 'num_attention_heads')
  return {
    D: hidden,
    K: heads,
    E: headDimOf('num_attention_heads', hidden, heads),
    F: countOf(config, 'intermediate_size'),
    V: countOf(config, 'vocab_size'),
    P: countOf(config, 'max_position_embeddings'),
    A: countOf(config, 'type_vocab_size', 2),
    ...classOutputs(config),
  }
}

/** Channels of a head. Throws `UnsupportedModelError` where the heads do not share the width evenly. */
export function headDimOf(key: string, hidden: number, heads: number): number {
  if (hidden % heads === 0) return hidden / heads
  throw new UnsupportedModelError(`config.json: "${key}" is ${heads}, expected a divisor of the width ${hidden}`)
}

function tensorFlowName(name: string): string {
  return name.replace(/LayerNorm\.weight$/, 'LayerNorm.gamma').replace(/LayerNorm\.bias$/, 'LayerNorm.beta')
}

const normOf = (config: ModelConfig): NormForm => ({
  type: 'layer',
  epsilon: numberOf(config, 'layer_norm_eps', 1e-12),
})
