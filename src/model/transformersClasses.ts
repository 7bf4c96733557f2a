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
  /**
   * Python of a class `Attention` in the place of the stock one, where heads that are gone leave something to do. It has its
   * own heads in `heads`; with none left, `lose_heads(nothing)` hands it the module that computes what a removed branch adds.
   */
  readonly attention?: { readonly extends: string; readonly code: string }
  /** The config class refuses a number of heads that does not divide the hidden size, an explicit head_dim or not. */
  readonly headsDivideHidden?: boolean
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
