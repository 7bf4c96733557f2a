import { UnsupportedModelError } from '../../errors.ts'
import type { ModelConfig, WeightTable } from '../../types.ts'
import type { Architecture } from '../architecture.ts'
import { choiceOf, countOf, flagOf, numberOf } from '../configValue.ts'
import type { NormForm } from '../forms.ts'
import { readRope } from '../rope.ts'

/** What a Llama-shaped model and its relatives differ in. */
export interface LlamaVariant {
  /** Which projections carry biases. */
  biases(config: ModelConfig): Biases
  /** How many positions back attention sees, in tokens; undefined: all. */
  window(config: ModelConfig): number | undefined
}

interface Biases {
  readonly qkv: boolean
  readonly o: boolean
  readonly mlp: boolean
}

/** Llama 1 to 3, Vicuna, SmolLM and everything else that says `model_type: llama`. */
export const llama = llamaLike(['llama'], {
  biases: (config) => ({
    qkv: flagOf(config, 'attention_bias', false),
    o: flagOf(config, 'attention_bias', false),
    mlp: flagOf(config, 'mlp_bias', false),
  }),
  window: () => undefined,
})

/** A pre-norm decoder with RMS norms, rotary positions, grouped key/value heads and a gated SiLU mlp. */
export function llamaLike(modelTypes: readonly string[], variant: LlamaVariant): Architecture {
  return {
    modelTypes,
    family: 'decoder',
    sizes: llamaSizes,
    stacks: {
      decoder: {
        layers: (config) => countOf(config, 'num_hidden_layers'),
        blocks: [
          {
            kind: 'attention',
            unit: 'K',
            weights: (config) => attentionWeights(variant.biases(config)),
            form: (config) => ({
              norm: normOf(config),
              positions: { type: 'rotary', rope: readRope(config, llamaSizes(config)['E']!) },
              headDim: llamaSizes(config)['E']!,
              groupSize: llamaSizes(config)['G']!,
              scale: llamaSizes(config)['E']! ** -0.5,
              biases: { qkv: variant.biases(config).qkv, o: variant.biases(config).o },
              window: variant.window(config),
            }),
          },
          {
            kind: 'mlp',
            unit: 'F',
            weights: (config) => mlpWeights(variant.biases(config).mlp),
            form: (config) => ({
              norm: normOf(config),
              gated: true,
              activation: choiceOf(config, 'hidden_act', ['silu'], 'silu'),
              biases: variant.biases(config).mlp,
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
    head: (config) => ({ norm: normOf(config), weight: isTied(config) ? 'embedTokens' : 'lmHead' }),
  }
}

function llamaSizes(config: ModelConfig) {
  const hidden = countOf(config, 'hidden_size')
  const heads = countOf(config, 'num_attention_heads')
  const kvHeads = countOf(config, 'num_key_value_heads', heads)
  const headDim = countOf(config, 'head_dim', hidden / heads)
  if (heads % kvHeads !== 0) {
    throw new UnsupportedModelError(
      `config.json: num_attention_heads is ${heads}, expected a multiple of num_key_value_heads, ${kvHeads}`,
    )
  }
  if (headDim % 2 !== 0) {
    throw new UnsupportedModelError(`config.json: head_dim is ${headDim}, expected an even number for rotary positions`)
  }
  return {
    D: hidden,
    K: kvHeads,
    G: heads / kvHeads,
    E: headDim,
    F: countOf(config, 'intermediate_size'),
    V: countOf(config, 'vocab_size'),
  }
}

function attentionWeights(biases: Biases): WeightTable {
  return {
    norm: ['model.layers.{layer}.input_layernorm.weight', 'D'],
    qProj: ['model.layers.{layer}.self_attn.q_proj.weight', '(K G E) D'],
    kProj: ['model.layers.{layer}.self_attn.k_proj.weight', '(K E) D'],
    vProj: ['model.layers.{layer}.self_attn.v_proj.weight', '(K E) D'],
    oProj: ['model.layers.{layer}.self_attn.o_proj.weight', 'D (K G E)'],
    ...(biases.qkv && {
      qBias: ['model.layers.{layer}.self_attn.q_proj.bias', '(K G E)'] as const,
      kBias: ['model.layers.{layer}.self_attn.k_proj.bias', '(K E)'] as const,
      vBias: ['model.layers.{layer}.self_attn.v_proj.bias', '(K E)'] as const,
    }),
    ...(biases.o && { oBias: ['model.layers.{layer}.self_attn.o_proj.bias', 'D'] as const }),
  }
}

function mlpWeights(biases: boolean): WeightTable {
  return {
    norm: ['model.layers.{layer}.post_attention_layernorm.weight', 'D'],
    gateProj: ['model.layers.{layer}.mlp.gate_proj.weight', 'F D'],
    upProj: ['model.layers.{layer}.mlp.up_proj.weight', 'F D'],
    downProj: ['model.layers.{layer}.mlp.down_proj.weight', 'D F'],
    ...(biases && {
      gateBias: ['model.layers.{layer}.mlp.gate_proj.bias', 'F'] as const,
      upBias: ['model.layers.{layer}.mlp.up_proj.bias', 'F'] as const,
      downBias: ['model.layers.{layer}.mlp.down_proj.bias', 'D'] as const,
    }),
  }
}

const normOf = (config: ModelConfig): NormForm => ({ type: 'rms', epsilon: numberOf(config, 'rms_norm_eps', 1e-6) })

const isTied = (config: ModelConfig): boolean => flagOf(config, 'tie_word_embeddings', false)
