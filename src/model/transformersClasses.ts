import type { ModelConfig } from '../types.ts'

/** Auto classes of transformers that an export can be loaded with. */
export type AutoClass =
  | 'AutoModel'
  | 'AutoModelForCausalLM'
  | 'AutoModelForSeq2SeqLM'
  | 'AutoModelForMaskedLM'
  | 'AutoModelForPreTraining'
  | 'AutoModelForSequenceClassification'
  | 'AutoModelForTokenClassification'
  | 'AutoModelForQuestionAnswering'

/** A family's own classes in transformers, on which the remote code of an export builds. Tried with transformers 5.23. */
export interface TransformersClasses {
  /** The folder of transformers.models. */
  readonly module: string
  readonly config: string
  readonly models: Readonly<Partial<Record<AutoClass, string>>>
  /**
   * Attributes of an attention, or of its `config.`, that count its heads and are read when it runs; what is not named here
   * follows from the shapes of the weights.
   */
  readonly headCounts?: readonly string[]
  /** Parameters by their names in a stock checkpoint, where transformers gives them others once they are loaded. */
  readonly parameterNames?: Readonly<Record<string, string>>
  /** Inputs of an attention that have numbers for each query head, (B,H,…) or (B·H,…): ALiBi's biases. */
  readonly headInputs?: (config: ModelConfig) => readonly string[]
  /** Whether the stock classes generate with as many layers in either stack as a cut config says; absent: they do. */
  readonly takesDepths?: (config: ModelConfig) => boolean
  /** Python of methods of the config class. */
  readonly configCode?: string
  /** transformers has no class with the family's mathematics: these come nearest, and every export needs the remote code. */
  readonly isForeign?: boolean
  /**
   * Python of a class `Attention` in the place of the stock one, where that does not compute what the family does or where
   * heads that are gone leave something to do. `Attention.adopt(attention, heads)` makes a stock one its own; with no heads
   * left, `lose_heads(nothing)` hands it the module that computes what a removed branch adds.
   */
  readonly attention?: PythonPart
  /** Python of a class `Head` in the place of the stock output matrix. */
  readonly head?: (config: ModelConfig) => PythonPart | undefined
  /** Whether the stock classes take another number of query heads in all layers beside an explicit head_dim; absent: they do. */
  readonly takesHeads?: (config: ModelConfig, heads: number) => boolean
}

/** A class of the remote code, and what it needs of the family's module in transformers. */
export interface PythonPart {
  readonly imports: readonly string[]
  readonly code: (config: ModelConfig) => string
}

/** Classes of a decoder, all with one prefix: `Llama` in `LlamaForCausalLM`. */
export function decoderClasses(
  module: string,
  prefix: string,
  more: Partial<TransformersClasses> = {},
): TransformersClasses {
  return {
    module,
    config: `${prefix}Config`,
    models: { AutoModel: `${prefix}Model`, AutoModelForCausalLM: `${prefix}ForCausalLM` },
    ...more,
  }
}

/** Classes of an encoder, all with one prefix: `Bert` in `BertForMaskedLM`. */
export function encoderClasses(
  module: string,
  prefix: string,
  more: TransformersClasses['models'] = {},
): TransformersClasses {
  return {
    module,
    config: `${prefix}Config`,
    models: {
      AutoModel: `${prefix}Model`,
      AutoModelForMaskedLM: `${prefix}ForMaskedLM`,
      AutoModelForSequenceClassification: `${prefix}ForSequenceClassification`,
      AutoModelForTokenClassification: `${prefix}ForTokenClassification`,
      AutoModelForQuestionAnswering: `${prefix}ForQuestionAnswering`,
      ...more,
    },
  }
}

/** Classes of an encoder-decoder; most call the one that generates text `…ForConditionalGeneration`. */
export function seq2SeqClasses(
  module: string,
  prefix: string,
  head = `${prefix}ForConditionalGeneration`,
): TransformersClasses {
  return { module, config: `${prefix}Config`, models: { AutoModel: `${prefix}Model`, AutoModelForSeq2SeqLM: head } }
}
