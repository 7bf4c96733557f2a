import { CheckpointError } from '../../../errors.ts'
import { type MetadataSource, optionalBoolean, optionalNumbers, optionalTokenId, requiredStrings } from '../fields.ts'

/** `tokenizer.ggml.token_type`. */
export const tokenTypes = { normal: 1, unknown: 2, control: 3, userDefined: 4, unused: 5, byte: 6 } as const

export interface Vocabulary {
  readonly path: string
  /** The index is the id. */
  readonly tokens: readonly string[]
  readonly ids: ReadonlyMap<string, number>
  typeOf(id: number): number
  /** Tokens the file names for a purpose; undefined where it names none. */
  readonly special: Readonly<Record<SpecialRole, Token | undefined>>
}

export type SpecialRole = 'bos' | 'eos' | 'unk' | 'sep' | 'pad' | 'mask' | 'cls'

export interface Token {
  readonly id: number
  readonly content: string
}

const specialKeys: Readonly<Record<SpecialRole, string>> = {
  bos: 'bos_token_id',
  eos: 'eos_token_id',
  unk: 'unknown_token_id',
  // spelled so by everyone who writes it
  sep: 'seperator_token_id',
  pad: 'padding_token_id',
  mask: 'mask_token_id',
  cls: 'cls_token_id',
}

/**
 * The token list of a file. `defaults` are the ids llama.cpp assumes for a role the file is silent on. Throws
 * `CheckpointError` for a token listed twice.
 */
export function vocabularyOf(source: MetadataSource, defaults: Partial<Record<SpecialRole, number>> = {}): Vocabulary {
  // llama.cpp gives empty tokens a name, as a vocabulary has one entry for each text
  const tokens = requiredStrings(source, 'tokenizer.ggml.tokens').map((token, id) => token || `[EMPTY_${id}]`)
  const ids = new Map<string, number>()
  for (const [id, token] of tokens.entries()) {
    const before = ids.get(token)
    if (before !== undefined) {
      throw new CheckpointError(
        `${source.path}: token ${JSON.stringify(token)} has ids ${before} and ${id}, expected one; is the vocabulary damaged?`,
      )
    }
    ids.set(token, id)
  }
  const types = optionalNumbers(source, 'tokenizer.ggml.token_type', tokens.length)
  const specialOf = (role: SpecialRole): Token | undefined => {
    const key = `tokenizer.ggml.${specialKeys[role]}`
    const id = optionalTokenId(source, key) ?? defaults[role] ?? -1
    const content = tokens[id]
    return content === undefined ? undefined : { id, content }
  }
  return {
    path: source.path,
    tokens,
    ids,
    typeOf: (id) => types?.[id] ?? tokenTypes.normal,
    special: {
      bos: specialOf('bos'),
      eos: specialOf('eos'),
      unk: specialOf('unk'),
      sep: specialOf('sep'),
      pad: specialOf('pad'),
      mask: specialOf('mask'),
      cls: specialOf('cls'),
    },
  }
}

/** An entry of `added_tokens`: matched whole in the raw text, before anything else. */
export interface AddedToken extends Token {
  readonly single_word: false
  readonly lstrip: false
  readonly rstrip: false
  readonly normalized: false
  readonly special: boolean
}

/** Control tokens and those the file names for a purpose are special; user-defined tokens are only kept whole. */
export function addedTokens({ tokens, typeOf, special }: Vocabulary): readonly AddedToken[] {
  const named = new Set(Object.values(special).map((token) => token?.id))
  return tokens.flatMap((content, id) => {
    const type = typeOf(id)
    const isSpecial = type === tokenTypes.control || type === tokenTypes.unknown || named.has(id)
    if (!isSpecial && type !== tokenTypes.userDefined) return []
    return [{ id, content, single_word: false, lstrip: false, rstrip: false, normalized: false, special: isSpecial }]
  })
}

/** The tokens put around every text. */
export interface Ends {
  readonly bos: Token | undefined
  readonly eos: Token | undefined
}

/**
 * Ends by `add_bos_token` and `add_eos_token`; `addBos` when the file does not say. Throws `CheckpointError` when one is
 * to be added that the file does not name.
 */
export function endsOf(source: MetadataSource, { special }: Vocabulary, addBos: boolean): Ends {
  const end = (role: 'bos' | 'eos', added: boolean): Token | undefined => {
    if (!added) return undefined
    const token = special[role]
    if (token === undefined) {
      throw new CheckpointError(
        `${source.path}: adds a ${role} token to every text but metadata "tokenizer.ggml.${specialKeys[role]}" is missing, expected its id; is the vocabulary damaged?`,
      )
    }
    return token
  }
  return {
    bos: end('bos', optionalBoolean(source, 'tokenizer.ggml.add_bos_token') ?? addBos),
    eos: end('eos', optionalBoolean(source, 'tokenizer.ggml.add_eos_token') ?? false),
  }
}

/** A `TemplateProcessing` post-processor that adds `ends`; null when there is nothing to add. */
export function endsTemplate({ bos, eos }: Ends): object | null {
  if (!bos && !eos) return null
  const around = (sequence: 'A' | 'B', type_id: number) => [
    ...(bos ? [{ SpecialToken: { id: bos.content, type_id } }] : []),
    { Sequence: { id: sequence, type_id } },
    ...(eos ? [{ SpecialToken: { id: eos.content, type_id } }] : []),
  ]
  return {
    type: 'TemplateProcessing',
    single: around('A', 0),
    pair: [...around('A', 0), ...around('B', 1)],
    special_tokens: templateTokens([bos, eos]),
  }
}

export function templateTokens(tokens: readonly (Token | undefined)[]): object {
  return Object.fromEntries(
    tokens.flatMap((token) =>
      token ? [[token.content, { id: token.content, ids: [token.id], tokens: [token.content] }]] : [],
    ),
  )
}

/** tokenizer.json as Python's tokenizers and npm's @huggingface/tokenizers read it. */
export interface TokenizerJson {
  readonly version: '1.0'
  readonly truncation: null
  readonly padding: null
  readonly added_tokens: readonly object[]
  readonly normalizer: object | null
  readonly pre_tokenizer: object | null
  readonly post_processor: object | null
  readonly decoder: object
  readonly model: object
}

export interface BuiltTokenizer {
  readonly vocabulary: Vocabulary
  readonly ends: Ends
  readonly json: TokenizerJson
}
