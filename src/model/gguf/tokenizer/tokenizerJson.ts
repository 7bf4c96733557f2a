import { UnsupportedModelError } from '../../../errors.ts'
import { type MetadataSource, optionalInteger, optionalString, optionalStrings, optionalTokenId } from '../fields.ts'
import { byteLevelBpe } from './byteLevelBpe.ts'
import { sentencePiece } from './sentencePiece.ts'
import type { BuiltTokenizer, SpecialRole } from './vocabulary.ts'
import { wordPiece } from './wordPiece.ts'

const builders: Readonly<Record<string, (source: MetadataSource) => BuiltTokenizer>> = {
  gpt2: byteLevelBpe,
  llama: sentencePiece,
  bert: wordPiece,
}

/** Whether the file has a tokenizer at all. */
export function hasTokenizer(source: MetadataSource): boolean {
  const model = optionalString(source, 'tokenizer.ggml.model')
  return model !== undefined && model !== 'no_vocab' && model !== 'none'
}

/** The tokenizer a file describes. Throws `UnsupportedModelError` for a kind that has no builder. */
export function buildTokenizer(source: MetadataSource): BuiltTokenizer {
  const model = optionalString(source, 'tokenizer.ggml.model') ?? 'none'
  const build = Object.hasOwn(builders, model) ? builders[model] : undefined
  if (!build) {
    throw new UnsupportedModelError(
      `${source.path}: has tokenizer ${JSON.stringify(model)}, expected one of ${Object.keys(builders).join(', ')}; give a tokenizer.json of the model`,
    )
  }
  return build(source)
}

/** tokenizer_config.json. */
export function tokenizerConfig(source: MetadataSource, { vocabulary, ends }: BuiltTokenizer): object {
  const roles: readonly SpecialRole[] = ['bos', 'eos', 'unk', 'sep', 'pad', 'cls', 'mask']
  const architecture = optionalString(source, 'general.architecture')
  const template = chatTemplate(source)
  return {
    tokenizer_class: 'PreTrainedTokenizerFast',
    ...Object.fromEntries(
      roles.flatMap((role) => (vocabulary.special[role] ? [[`${role}_token`, vocabulary.special[role].content]] : [])),
    ),
    add_bos_token: ends.bos !== undefined,
    add_eos_token: ends.eos !== undefined,
    clean_up_tokenization_spaces: false,
    model_max_length: optionalInteger(source, `${architecture}.context_length`) ?? null,
    ...(template === undefined ? {} : { chat_template: template }),
  }
}

/** The template; with named ones beside it the list transformers writes for several. */
function chatTemplate(source: MetadataSource): unknown {
  const template = optionalString(source, 'tokenizer.chat_template')
  const named = (optionalStrings(source, 'tokenizer.chat_templates') ?? []).flatMap((name) => {
    const text = optionalString(source, `tokenizer.chat_template.${name}`)
    return text === undefined || name === 'default' ? [] : [{ name, template: text }]
  })
  if (named.length === 0) return template
  return template === undefined ? named : [{ name: 'default', template }, ...named]
}

/** generation_config.json: the ends of a text, the end of a turn among them. */
export function generationConfig(source: MetadataSource): object {
  const id = (name: string) => optionalTokenId(source, `tokenizer.ggml.${name}_token_id`)
  const ends = [...new Set([id('eos'), id('eot'), id('eom')].filter((end) => end !== undefined))]
  const bos = id('bos')
  const pad = id('padding')
  return {
    ...(bos === undefined ? {} : { bos_token_id: bos }),
    ...(ends.length === 0 ? {} : { eos_token_id: ends.length === 1 ? ends[0] : ends }),
    ...(pad === undefined ? {} : { pad_token_id: pad }),
  }
}
