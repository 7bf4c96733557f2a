import { UnsupportedModelError } from '../../errors.ts'
import type { ModelConfig, WeightTable } from '../../types.ts'
import { activationOf } from '../activation.ts'
import type { Architecture } from '../architecture.ts'
import { countOf, flagOf, layerCountOf, numberOf } from '../configValue.ts'
import type { HeadForm, NormForm, Positions } from '../mathematics.ts'
import { readRope } from '../rope.ts'
import { withoutPrefix } from '../spelling.ts'
import { decoderClasses } from '../transformersClasses.ts'
import { projection } from '../weightTable.ts'

/** What a Llama-shaped model and its relatives differ in. */
export interface LlamaVariant {
  /** Which projections carry biases; absent: none. */
  readonly biases?: (config: ModelConfig) => Biases
  /** How many positions back attention of a layer sees, in tokens; absent or undefined: all. */
  readonly window?: (config: ModelConfig, layer: number) => number | undefined
  /** q and k of each head have norms of their own, `q_norm` and `k_norm`. */
  readonly hasHeadNorms?: boolean
  /** How attention learns about positions; absent: rotary over the whole head. */
  readonly positions?: (config: ModelConfig, sizes: LlamaSizes) => Positions
  /** The projections where a family stores them fused; absent: q, k, v, gate and up apart. */
  readonly attentionInputs?: WeightTable
  readonly mlpInputs?: WeightTable
  /** Values of keys that the family's configs may leave out, where they are not Llama's. */
  readonly defaults?: { readonly epsilon?: number; readonly headDim?: number; readonly keyValueHeads?: number }
  /** What the head does beyond the common one. */
  readonly head?: (config: ModelConfig) => Partial<HeadForm>
}

interface Biases {
  readonly qkv: boolean
  readonly o: boolean
  readonly mlp: boolean
}

/** Llama 1 to 3, Vicuna, SmolLM and everything else that says `model_type: llama`. */
export const llama = llamaLike(
  { llama: decoderClasses('llama', 'Llama', { takesHeads: headsDivideHidden }) },
  {
    biases: (config) => ({
      qkv: flagOf(config, 'attention_bias', false),
      o: flagOf(config, 'attention_bias', false),
      mlp: flagOf(config, 'mlp_bias', false),
    }),
  },
)

/** Some config classes of transformers want them to, an explicit head_dim or not. */
export function headsDivideHidden(config: ModelConfig, heads: number): boolean {
  return countOf(config, 'hidden_size') % heads === 0
}

const noBiases: Biases = { qkv: false, o: false, mlp: false }

/** A pre-norm decoder with RMS norms, grouped key/value heads and a gated mlp; positions are rotary most often. */
export function llamaLike(transformers: Architecture['transformers'], variant: LlamaVariant): Architecture {
  const biasesOf = variant.biases ?? (() => noBiases)
  const positionsOf = variant.positions ?? rotaryPositions
  const sizesOf = (config: ModelConfig) => llamaSizes(config, variant.defaults)
  const normOf = (config: ModelConfig): NormForm => ({
    type: 'rms',
    epsilon: numberOf(config, 'rms_norm_eps', variant.defaults?.epsilon ?? 1e-6),
  })
  return {
    modelTypes: Object.keys(transformers),
    transformers,
    family: 'decoder',
    hasWindows: variant.window !== undefined,
    spellings: withoutPrefix('model.'),
    sizes: sizesOf,
    stacks: {
      decoder: {
        layers: (config) => layerCountOf(config, 'num_hidden_layers'),
        blocks: [
          {
            kind: 'attention',
            unit: 'K',
            weights: (config) => ({
              norm: [`${layer}.input_layernorm.weight`, 'D'],
              ...(variant.attentionInputs ?? attentionInputs(biasesOf(config).qkv)),
              ...(variant.hasHeadNorms && {
                qNorm: [`${layer}.self_attn.q_norm.weight`, 'E'] as const,
                kNorm: [`${layer}.self_attn.k_norm.weight`, 'E'] as const,
              }),
              ...projection('o', `${layer}.self_attn.o_proj`, 'D', '(K G E)', { bias: biasesOf(config).o }),
            }),
            form: (config, layer) => {
              const sizes = sizesOf(config)
              return {
                norm: normOf(config),
                ...(variant.hasHeadNorms && { headNorm: normOf(config) }),
                positions: positionsOf(config, sizes),
                headDim: sizes.E,
                groupSize: sizes.G,
                scale: sizes.E ** -0.5,
                biases: { qkv: biasesOf(config).qkv, o: biasesOf(config).o },
                window: variant.window?.(config, layer),
              }
            },
          },
          {
            kind: 'mlp',
            unit: 'F',
            weights: (config) => ({
              norm: [`${layer}.post_attention_layernorm.weight`, 'D'],
              ...(variant.mlpInputs ?? mlpInputs(biasesOf(config).mlp)),
              ...projection('down', `${layer}.mlp.down_proj`, 'D', 'F', { bias: biasesOf(config).mlp }),
            }),
            form: (config) => ({
              norm: normOf(config),
              gated: true,
              activation: activationOf(config, 'hidden_act', 'silu'),
              biases: biasesOf(config).mlp,
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
    embedding: () => ({}),
    head: (config) => ({
      norm: normOf(config),
      weight: isTied(config) ? 'embedTokens' : 'lmHead',
      ...variant.head?.(config),
    }),
  }
}

/** Names begin with this; the number of the layer takes the place of `{layer}`. */
const layer = 'model.layers.{layer}'

export interface LlamaSizes {
  readonly [letter: string]: number
  readonly D: number
  readonly K: number
  readonly G: number
  readonly E: number
  readonly F: number
  readonly V: number
}

/** Sizes in the words of Llama's config, with the defaults of a family that has others than hidden size / heads and heads. */
export function llamaSizes(config: ModelConfig, defaults: LlamaVariant['defaults'] = {}): LlamaSizes {
  const hidden = countOf(config, 'hidden_size')
  const heads = countOf(config, 'num_attention_heads')
  const kvHeads = keyValueHeadsOf(config, heads, defaults.keyValueHeads)
  if (heads % kvHeads !== 0) {
    throw new UnsupportedModelError(
      `config.json: num_attention_heads is ${heads}, expected a multiple of num_key_value_heads, ${kvHeads}`,
    )
  }
  return {
    D: hidden,
    K: kvHeads,
    G: heads / kvHeads,
    E: countOf(config, 'head_dim', 'head_dim' in config ? hidden / heads : (defaults.headDim ?? hidden / heads)),
    F: countOf(config, 'intermediate_size'),
    V: countOf(config, 'vocab_size'),
  }
}

/** transformers takes null for as many as query heads, an absent key for the default of the family. */
function keyValueHeadsOf(config: ModelConfig, heads: number, byDefault = heads): number {
  return countOf(config, 'num_key_value_heads', 'num_key_value_heads' in config ? heads : byDefault)
}

function rotaryPositions(config: ModelConfig, { E }: LlamaSizes): Positions {
  return { type: 'rotary', rope: readRope(config, E) }
}

function attentionInputs(bias: boolean): WeightTable {
  return {
    ...projection('q', `${layer}.self_attn.q_proj`, '(K G E)', 'D', { bias }),
    ...projection('k', `${layer}.self_attn.k_proj`, '(K E)', 'D', { bias }),
    ...projection('v', `${layer}.self_attn.v_proj`, '(K E)', 'D', { bias }),
  }
}

function mlpInputs(bias: boolean): WeightTable {
  return {
    ...projection('gate', `${layer}.mlp.gate_proj`, 'F', 'D', { bias }),
    ...projection('up', `${layer}.mlp.up_proj`, 'F', 'D', { bias }),
  }
}

const isTied = (config: ModelConfig): boolean => flagOf(config, 'tie_word_embeddings', false)
