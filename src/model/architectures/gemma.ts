import type { ModelConfig, WeightTable } from '../../types.ts'
import { activationOf } from '../activation.ts'
import type { Architecture } from '../architecture.ts'
import { countOf, flagOf, layerCountOf, numberOf, numberOrNull, requireValue } from '../configValue.ts'
import type { Activation, NormForm, RopeForm } from '../mathematics.ts'
import { readRope } from '../rope.ts'
import { withoutPrefix } from '../spelling.ts'
import { decoderClasses } from '../transformersClasses.ts'
import { projection } from '../weightTable.ts'
import { llamaSizes } from './llama.ts'

/** What the generations of Gemma differ in. */
export interface GemmaVariant {
  /** Every branch has a norm behind its output projection too. */
  readonly hasPostNorms: boolean
  /** q and k of each head have norms of their own. */
  readonly hasHeadNorms: boolean
  readonly rope: (config: ModelConfig, headDim: number, layer: number) => RopeForm
  /** How many positions back attention of a layer sees, in tokens; absent or undefined: all. */
  readonly window?: (config: ModelConfig, layer: number) => number | undefined
  /** Scores are divided by the root of this. */
  readonly queryScalar: (config: ModelConfig, headDim: number) => number
  /** `num_key_value_heads` of a config that does not say it. */
  readonly keyValueHeads: number
  readonly activation: (config: ModelConfig) => Activation
  /**
   * Bounds of attention scores and of logits where the config does not name them. `none`: transformers does not read the one of
   * the config.
   */
  readonly softcaps: { readonly attention: Softcap; readonly final: Softcap }
}

type Softcap = number | undefined | 'none'

/** Gemma: RMS norms that store their scales less one, embeddings times √D, a gated tanh-GELU mlp, a tied head. */
export const gemma = gemmaLike(
  { gemma: decoderClasses('gemma', 'Gemma') },
  {
    hasPostNorms: false,
    hasHeadNorms: false,
    rope: (config, headDim) => readRope(config, headDim),
    queryScalar: (_, headDim) => headDim,
    keyValueHeads: 16,
    activation(config) {
      // the first configs say `hidden_act: gelu` and mean its tanh form, as transformers reads them
      const activation = activationOf(config, 'hidden_act', 'gelu_pytorch_tanh')
      return activation === 'gelu' ? 'geluTanh' : activation
    },
    softcaps: { attention: 'none', final: 'none' },
  },
)

/** The mathematics that all generations of Gemma share. */
export function gemmaLike(transformers: Architecture['transformers'], variant: GemmaVariant): Architecture {
  const { hasPostNorms, hasHeadNorms, keyValueHeads } = variant
  const sizesOf = (config: ModelConfig) => llamaSizes(config, { headDim: 256, keyValueHeads })
  return {
    modelTypes: Object.keys(transformers),
    transformers,
    family: 'decoder',
    hasWindows: variant.window !== undefined,
    spellings: withoutPrefix('model.'),
    sizes(config) {
      requireValue(config, 'use_bidirectional_attention', false)
      return sizesOf(config)
    },
    stacks: {
      decoder: {
        layers: (config) => layerCountOf(config, 'num_hidden_layers'),
        blocks: [
          {
            kind: 'attention',
            unit: 'K',
            weights: (config) => attentionWeights(config, variant),
            form: (config, layer) => {
              const { E, G } = sizesOf(config)
              const bias = flagOf(config, 'attention_bias', false)
              const softcap = softcapOf(config, 'attn_logit_softcapping', variant.softcaps.attention)
              return {
                norm: normOf(config),
                ...(hasPostNorms && { postNorm: normOf(config) }),
                ...(hasHeadNorms && { headNorm: normOf(config) }),
                positions: { type: 'rotary', rope: variant.rope(config, E, layer) },
                headDim: E,
                groupSize: G,
                scale: variant.queryScalar(config, E) ** -0.5,
                ...(softcap !== undefined && { softcap }),
                window: variant.window?.(config, layer),
                biases: { qkv: bias, o: bias },
              }
            },
          },
          {
            kind: 'mlp',
            unit: 'F',
            weights: () => mlpWeights(hasPostNorms),
            form: (config) => ({
              norm: normOf(config),
              ...(hasPostNorms && { postNorm: normOf(config) }),
              gated: true,
              activation: variant.activation(config),
              biases: false,
            }),
          },
        ],
      },
    },
    outer: (config) => ({
      embedTokens: ['model.embed_tokens.weight', 'V D'],
      finalNorm: ['model.norm.weight', 'D'],
      ...(isTied(config) ? {} : { lmHead: ['lm_head.weight', 'V D'] as const }),
    }),
    embedding: (config) => ({ scale: countOf(config, 'hidden_size') ** 0.5 }),
    head: (config) => {
      const softcap = softcapOf(config, 'final_logit_softcapping', variant.softcaps.final)
      return {
        norm: normOf(config),
        weight: isTied(config) ? 'embedTokens' : 'lmHead',
        ...(softcap !== undefined && { softcap }),
      }
    },
  }
}

const softcapOf = (config: ModelConfig, key: string, fallback: Softcap): number | undefined =>
  fallback === 'none' ? undefined : numberOrNull(config, key, fallback)

const layer = 'model.layers.{layer}'

function attentionWeights(config: ModelConfig, { hasHeadNorms, hasPostNorms }: GemmaVariant): WeightTable {
  const bias = flagOf(config, 'attention_bias', false)
  return {
    norm: [`${layer}.input_layernorm.weight`, 'D'],
    ...projection('q', `${layer}.self_attn.q_proj`, '(K G E)', 'D', { bias }),
    ...projection('k', `${layer}.self_attn.k_proj`, '(K E)', 'D', { bias }),
    ...projection('v', `${layer}.self_attn.v_proj`, '(K E)', 'D', { bias }),
    ...(hasHeadNorms && {
      qNorm: [`${layer}.self_attn.q_norm.weight`, 'E'] as const,
      kNorm: [`${layer}.self_attn.k_norm.weight`, 'E'] as const,
    }),
    ...projection('o', `${layer}.self_attn.o_proj`, 'D', '(K G E)', { bias }),
    ...(hasPostNorms && { postNorm: [`${layer}.post_attention_layernorm.weight`, 'D'] as const }),
  }
}

function mlpWeights(hasPostNorms: boolean): WeightTable {
  const norm = hasPostNorms ? 'pre_feedforward_layernorm' : 'post_attention_layernorm'
  return {
    norm: [`${layer}.${norm}.weight`, 'D'],
    ...projection('gate', `${layer}.mlp.gate_proj`, 'F', 'D'),
    ...projection('up', `${layer}.mlp.up_proj`, 'F', 'D'),
    ...projection('down', `${layer}.mlp.down_proj`, 'D', 'F'),
    ...(hasPostNorms && { postNorm: [`${layer}.post_feedforward_layernorm.weight`, 'D'] as const }),
  }
}

const normOf = (config: ModelConfig): NormForm => ({
  type: 'rms',
  epsilon: numberOf(config, 'rms_norm_eps', 1e-6),
  offset: 1,
})

const isTied = (config: ModelConfig): boolean => flagOf(config, 'tie_word_embeddings', true)
