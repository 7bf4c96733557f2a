import type { BlockKind, ModelConfig, StackName, WeightTable } from '../types.ts'
import type {
  AttentionForm,
  EmbeddingForm,
  HeadForm,
  MlpForm,
  MultiHeadForm,
  NormForm,
  PositionBiasForm,
} from './mathematics.ts'
import type { TransformersClasses } from './transformersClasses.ts'

/** A model family described, not programmed: the only thing a new family needs. */
export interface Architecture {
  /** Values of `model_type` in config.json that this table describes. */
  readonly modelTypes: readonly string[]
  readonly family: 'decoder' | 'encoder' | 'encoderDecoder'
  /** The one of `modelTypes` that transformers' Auto classes take a config for; absent: the one it says. */
  modelType?(config: ModelConfig): string
  /** Attention reads `sliding_window` and `layer_types`. Where no attention does, transformers' cache of keys and values still would. */
  readonly hasWindows?: boolean
  /** Other keys of config.json under which transformers takes a setting, and the family's own: `num_hidden_layers` → `n_layer`. */
  readonly otherKeys?: Readonly<Record<string, string>>
  /** Its classes in transformers, by `model_type`. */
  readonly transformers: Readonly<Record<string, TransformersClasses>>
  /**
   * Other names under which checkpoints store the tensor called `name` here, tried in order: without the prefix of the
   * whole model, with it, or in an older spelling. Absent: there is one spelling.
   */
  spellings?(name: string): readonly string[]
  /**
   * Size of every shape letter the tables use, but for those whose size is that of a stack. Throws `UnsupportedModelError` naming the config value when one of them
   * changes the mathematics in a way this table does not describe.
   */
  sizes(config: ModelConfig): Sizes
  /** In forward order: the encoder's output is what a decoder after it reads as `memory`. */
  readonly stacks: Readonly<Partial<Record<StackName, StackTable>>>
  /**
   * Weights outside the blocks: `embedTokens`, `finalNorm`, `lmHead` (absent when the head is tied). A role of one stack
   * only begins with its name: `encoder.embedPositions`. `has` tells whether the checkpoint stores a tensor.
   */
  outer(config: ModelConfig, has: HasTensor): WeightTable
  embedding(config: ModelConfig, stack: StackName): EmbeddingForm
  /** How final hidden states become predictions, given the roles of `outer`; undefined: the model has no head. */
  head(config: ModelConfig, outer: WeightTable): HeadForm | undefined
}

/** Shape letter → size. */
export type Sizes = Readonly<Record<string, number>>

/** Whether the checkpoint stores a tensor under this name or one of its other spellings. */
export type HasTensor = (name: string) => boolean

export interface StackTable {
  layers(config: ModelConfig): number
  /**
   * Sizes of the letters of blocks where they may differ from those of the other stack: the architecture's then leave these
   * letters out, so that nothing can take one stack's size for the other's. Absent: the architecture has them.
   */
  sizes?(config: ModelConfig): Readonly<Record<'K' | 'E' | 'F', number>>
  /** The blocks of one layer in forward order. */
  readonly blocks: readonly BlockTable[]
  /** Applied to what leaves an encoder before a decoder reads it, role `finalNorm` of the stack; absent: nothing is. */
  finalNorm?(config: ModelConfig): NormForm
  /** What every self-attention of the stack adds to its scores, role `positionBias` of the stack; absent: nothing. */
  positionBias?(config: ModelConfig): PositionBiasForm | undefined
}

interface BlockTableOf<Kind extends BlockKind, Form> {
  readonly kind: Kind
  /** The shape letter a width method counts: `K` for head groups, `F` for channels. */
  readonly unit: 'K' | 'F'
  /**
   * Names with `{layer}` where the layer number goes. The norm of a branch has the role `norm` before it and `outputNorm`
   * behind it, where it belongs to the stream.
   */
  weights(config: ModelConfig, layer: number): WeightTable
  /** The mathematics of the block, as numbers and choices. */
  form(config: ModelConfig, layer: number): Form
}

export type BlockTable =
  | BlockTableOf<'attention', AttentionForm | MultiHeadForm>
  | BlockTableOf<'crossAttention', MultiHeadForm>
  | BlockTableOf<'mlp', MlpForm>
