import type { BlockKind, ModelConfig, StackName, WeightTable } from '../types.ts'
import type { AttentionForm, EmbeddingForm, HeadForm, MlpForm } from './forms.ts'

/** A model family described, not programmed: the only thing a new family needs. */
export interface Architecture {
  /** Values of `model_type` in config.json that this table describes. */
  readonly modelTypes: readonly string[]
  readonly family: 'decoder' | 'encoder' | 'encoderDecoder'
  /**
   * Size of every shape letter the tables use. Throws `UnsupportedModelError` naming the config value when one of them
   * changes the mathematics in a way this table does not describe.
   */
  sizes(config: ModelConfig): Sizes
  readonly stacks: Readonly<Partial<Record<StackName, StackTable>>>
  /** Weights outside the blocks: `embedTokens`, `finalNorm`, `lmHead` (absent when the head is tied). */
  outer(config: ModelConfig): WeightTable
  embedding(config: ModelConfig): EmbeddingForm
  head(config: ModelConfig): HeadForm
}

/** Shape letter → size. */
export type Sizes = Readonly<Record<string, number>>

export interface StackTable {
  layers(config: ModelConfig): number
  /** The blocks of one layer in forward order. */
  readonly blocks: readonly BlockTable[]
}

interface BlockTableOf<Kind extends BlockKind, Form> {
  readonly kind: Kind
  /** The shape letter a width method counts: `K` for head groups, `F` for channels. */
  readonly unit: 'K' | 'F'
  /** Names with `{layer}` where the layer number goes. */
  weights(config: ModelConfig): WeightTable
  /** The mathematics of the block, as numbers and choices. */
  form(config: ModelConfig, layer: number): Form
}

export type BlockTable = BlockTableOf<'attention', AttentionForm> | BlockTableOf<'mlp', MlpForm>
