import { isDeepStrictEqual } from 'node:util'
import { CheckpointError, UnsupportedModelError } from '../errors.ts'
import type { GgufMetadata, GgufValue } from '../format/gguf/ggufValue.ts'
import { chatTemplateOf } from '../model/chatTemplate.ts'
import { namedSplits, preTokenizerNamed } from '../model/gguf/tokenizer/preTokenizers.ts'
import { mergesFromScores } from '../model/gguf/tokenizer/sentencePiece.ts'
import { tokenTypes, vocabularyOf } from '../model/gguf/tokenizer/vocabulary.ts'
import type { Model } from '../model/model.ts'

type Json = Readonly<Record<string, unknown>>
type Metadata = ReadonlyMap<string, GgufValue>

/**
 * The `tokenizer.*` metadata of a model that has a tokenizer.json: vocabulary, merges or scores, special tokens and chat
 * template, padded to the model's embeddings. Byte-level BPE whose splitting llama.cpp knows by name, and SentencePiece's
 * BPE (Llama 2, Mistral, Gemma); throws `UnsupportedModelError` for any other, whose ids llama.cpp would get wrong.
 */
export async function ggufTokenizer(model: Model): Promise<Metadata> {
  const tokenizer = await readJson(model, 'tokenizer.json')
  if (tokenizer === undefined) {
    throw new CheckpointError(
      `${model.id}: has no tokenizer.json, expected one, as a GGUF file holds its tokenizer; put the file beside config.json`,
    )
  }
  const config = (await readJson(model, 'tokenizer_config.json')) ?? {}
  const rules = objectIn(tokenizer, 'model')
  if (rules['type'] !== 'BPE') throw unsupported(`its model is ${JSON.stringify(rules['type'])}`)
  const vocabulary = tokensOf(tokenizer, rules, model.sizes['V']!)
  const kind =
    rules['byte_fallback'] === true ? sentencePiece(tokenizer, rules, vocabulary) : byteLevel(tokenizer, rules)
  const metadata = new Map<string, GgufValue>([
    ...kind,
    ['tokenizer.ggml.tokens', { type: 'array', elementType: 'string', value: vocabulary.tokens }],
    ['tokenizer.ggml.token_type', { type: 'array', elementType: 'int32', value: vocabulary.types }],
    ...specialTokens(model, tokenizer, config, vocabulary.ids),
  ])
  const template = await chatTemplateOf(model.assets)
  if (template !== undefined) metadata.set('tokenizer.chat_template', { type: 'string', value: template })
  return metadata
}

interface Vocabulary {
  readonly tokens: readonly string[]
  readonly types: Int32Array
  readonly ids: ReadonlyMap<string, number>
}

function tokensOf(tokenizer: Json, rules: Json, size: number): Vocabulary {
  const tokens: string[] = new Array(size)
  const types = new Int32Array(size).fill(tokenTypes.unused)
  const ids = new Map<string, number>()
  const put = (token: string, id: unknown, type: number): void => {
    if (typeof id !== 'number' || !Number.isInteger(id) || id < 0 || id >= size) {
      throw new CheckpointError(
        `tokenizer.json: token ${JSON.stringify(token)} has id ${id}, expected 0 to ${size - 1}; is it a tokenizer of another model?`,
      )
    }
    tokens[id] = token
    types[id] = type
    ids.set(token, id)
  }
  for (const [token, id] of Object.entries(objectIn(rules, 'vocab'))) {
    put(
      token,
      id,
      /^<0x[0-9A-F]{2}>$/.test(token) && rules['byte_fallback'] === true ? tokenTypes.byte : tokenTypes.normal,
    )
  }
  for (const added of listIn(tokenizer, 'added_tokens') as Json[]) {
    const content = String(added['content'])
    const isUnknown = content === rules['unk_token']
    put(
      content,
      added['id'],
      isUnknown ? tokenTypes.unknown : added['special'] === true ? tokenTypes.control : tokenTypes.userDefined,
    )
  }
  // rows of the embedding that no token uses; llama.cpp wants a different text for each
  for (let id = 0; id < size; id++) tokens[id] ??= `[PAD${id}]`
  return { tokens, types, ids }
}

/** GPT-2's kind: text split by rules with a name, then merged over bytes. */
function byteLevel(tokenizer: Json, rules: Json): Metadata {
  if (objectIn(tokenizer, 'decoder')['type'] !== 'ByteLevel') throw unsupported('it is BPE, but not over bytes')
  const normalizer = tokenizer['normalizer'] as Json | null | undefined
  if (normalizer != null && normalizer['type'] !== 'NFC') {
    throw unsupported(`its normalizer is ${JSON.stringify(normalizer['type'])}`)
  }
  const splits = splitsOf(tokenizer['pre_tokenizer'])
  const pre = splits && preTokenizerNamed(splits, rules['ignore_merges'] === true)
  if (pre === undefined) throw unsupported('llama.cpp has no name for the way it splits text')
  return new Map<string, GgufValue>([
    ['tokenizer.ggml.model', { type: 'string', value: 'gpt2' }],
    ['tokenizer.ggml.pre', { type: 'string', value: pre }],
    [
      'tokenizer.ggml.merges',
      { type: 'array', elementType: 'string', value: mergesOf(rules).map((pair) => pair.join(' ')) },
    ],
  ])
}

/** The expressions of a pre-tokenizer that ends in bytes, one after the other; undefined for anything else. */
function splitsOf(part: unknown): string[] | undefined {
  const json = (part ?? {}) as Json
  switch (json['type']) {
    case 'Sequence': {
      const parts = (listIn(json, 'pretokenizers') as unknown[]).map(splitsOf)
      return parts.every((list) => list !== undefined) ? parts.flat() : undefined
    }
    case 'ByteLevel':
      if (json['add_prefix_space'] === true) return undefined
      return json['use_regex'] === false ? [] : [namedSplits.byteLevel]
    case 'Digits':
      return json['individual_digits'] === true ? [namedSplits.eachDigit] : undefined
    case 'Split': {
      const regex = ((json['pattern'] ?? {}) as Json)['Regex']
      const isolates = json['behavior'] === 'Isolated' || (json['behavior'] === 'Removed' && json['invert'] === true)
      return isolates && typeof regex === 'string' ? [regex] : undefined
    }
    default:
      return undefined
  }
}

/**
 * SentencePiece's BPE has no merges but scores: neighbours are joined whose union has the best. The scores that repeat the
 * order of the merges are minus the rank of a token's first merge. Sound only where they give the same merges back.
 */
function sentencePiece(tokenizer: Json, rules: Json, { tokens, types }: Vocabulary): Metadata {
  const prefix = JSON.stringify([tokenizer['normalizer'] ?? null, tokenizer['pre_tokenizer'] ?? null])
  const scheme = /"prepend_scheme":"never"|"add_prefix_space":false/.test(prefix)
  const prefixed = !scheme && /"Prepend"|"Metaspace"/.test(prefix)
  const merges = mergesOf(rules)
  const ranks = new Map<string, number>()
  for (const [rank, [left, right]] of merges.entries()) if (!ranks.has(left + right)) ranks.set(left + right, rank)
  const scores = Float32Array.from(tokens, (token) => -(ranks.get(token) ?? merges.length))
  const metadata = new Map<string, GgufValue>([
    ['tokenizer.ggml.model', { type: 'string', value: 'llama' }],
    ['tokenizer.ggml.pre', { type: 'string', value: 'default' }],
    ['tokenizer.ggml.scores', { type: 'array', elementType: 'float32', value: scores }],
    ['tokenizer.ggml.add_space_prefix', { type: 'bool', value: prefixed }],
  ])
  const source = {
    path: 'tokenizer.json',
    metadata: new Map<string, GgufMetadata>(
      [
        ...metadata,
        ['tokenizer.ggml.tokens', { type: 'array', elementType: 'string', value: tokens }] as const,
        ['tokenizer.ggml.token_type', { type: 'array', elementType: 'int32', value: types }] as const,
      ].map(([key, value]) => [key, { value, position: 0, byteLength: 0 }]),
    ),
  }
  const given = mergesFromScores(source, vocabularyOf(source))
  // the cuts of one token stand in any order: no text has two of them at one place
  const byToken = (list: readonly (readonly [string, string])[]) =>
    list
      .map(([left, right]) => [left + right, left] as const)
      .sort((a, b) => rankOf(a[0]) - rankOf(b[0]) || (a[1] < b[1] ? -1 : 1))
  const rankOf = (token: string): number => ranks.get(token) ?? merges.length
  if (!isDeepStrictEqual(byToken(given), byToken(merges)) || !isGrouped(merges)) {
    throw unsupported('its merges are in no order that scores of tokens could give')
  }
  return metadata
}

/** Whether the merges that make one token follow each other. */
function isGrouped(merges: readonly (readonly [string, string])[]): boolean {
  const seen = new Set<string>()
  let last: string | undefined
  for (const [left, right] of merges) {
    const token = left + right
    if (token === last) continue
    if (seen.has(token)) return false
    seen.add(token)
    last = token
  }
  return true
}

function mergesOf(rules: Json): (readonly [string, string])[] {
  return (listIn(rules, 'merges') as unknown[]).map((merge) => {
    const [left, right] = typeof merge === 'string' ? merge.split(' ') : (merge as string[])
    if (typeof left !== 'string' || typeof right !== 'string') {
      throw new CheckpointError(`tokenizer.json: a merge is ${JSON.stringify(merge)}, expected two tokens`)
    }
    return [left, right]
  })
}

function specialTokens(model: Model, tokenizer: Json, config: Json, ids: ReadonlyMap<string, number>): Metadata {
  const size = model.sizes['V']!
  const metadata = new Map<string, GgufValue>()
  const idOf = (role: string): number | undefined => {
    const token = config[`${role}_token`]
    const content = typeof token === 'string' ? token : ((token ?? {}) as Json)['content']
    const named = typeof content === 'string' ? ids.get(content) : undefined
    const configured = model.config[`${role}_token_id`]
    const id: unknown = named ?? (Array.isArray(configured) ? configured[0] : configured)
    // configs say "none" by -1, and forget to follow a vocabulary that grew or shrank
    return typeof id === 'number' && Number.isInteger(id) && id >= 0 && id < size ? id : undefined
  }
  const keys = { bos: 'bos', eos: 'eos', pad: 'padding', unk: 'unknown' }
  for (const [role, key] of Object.entries(keys)) {
    const id = idOf(role)
    if (id !== undefined) metadata.set(`tokenizer.ggml.${key}_token_id`, { type: 'uint32', value: id })
  }
  const around = endsAdded(tokenizer['post_processor'])
  for (const role of ['bos', 'eos'] as const) {
    const id = idOf(role)
    const added = around[role]
    if (added !== undefined && ids.get(added) !== id)
      throw unsupported(`it adds ${JSON.stringify(added)} to every text`)
    metadata.set(`tokenizer.ggml.add_${role}_token`, { type: 'bool', value: added !== undefined })
  }
  return metadata
}

/** The tokens a post-processor puts around a text. */
function endsAdded(part: unknown): { bos?: string; eos?: string } {
  const json = (part ?? {}) as Json
  if (json['type'] === 'Sequence') {
    return Object.assign({}, ...(listIn(json, 'processors') as unknown[]).map(endsAdded))
  }
  if (json['type'] !== 'TemplateProcessing') return {}
  const single = listIn(json, 'single') as Json[]
  const text = single.findIndex((piece) => 'Sequence' in piece)
  const tokens = single.map((piece) => (piece['SpecialToken'] as Json | undefined)?.['id'])
  const [before, after] = [tokens.slice(0, text), tokens.slice(text + 1)]
  if (before.length > 1 || after.length > 1) throw unsupported('it adds several tokens to every text')
  return {
    ...(typeof before[0] === 'string' && { bos: before[0] }),
    ...(typeof after[0] === 'string' && { eos: after[0] }),
  }
}

async function readJson(model: Model, name: string): Promise<Json | undefined> {
  const bytes = await model.assets.get(name)?.()
  if (bytes === undefined) return undefined
  try {
    return JSON.parse(new TextDecoder().decode(bytes)) as Json
  } catch (cause) {
    throw new CheckpointError(
      `${model.id}: ${name} is not JSON (${(cause as Error).message}); is the download complete?`,
      {
        cause,
      },
    )
  }
}

function objectIn(json: Json, key: string): Json {
  const value = json[key]
  if (value === null || typeof value !== 'object' || Array.isArray(value)) {
    throw new CheckpointError(`tokenizer.json: "${key}" is ${JSON.stringify(value)?.slice(0, 40)}, expected an object`)
  }
  return value as Json
}

function listIn(json: Json, key: string): readonly unknown[] {
  const value = json[key] ?? []
  if (!Array.isArray(value)) {
    throw new CheckpointError(`tokenizer.json: "${key}" is ${JSON.stringify(value).slice(0, 40)}, expected a list`)
  }
  return value
}

function unsupported(what: string): UnsupportedModelError {
  return new UnsupportedModelError(
    `tokenizer.json: ${what}, which has no form in GGUF that we know to give the same ids; export to huggingface or onnx`,
  )
}
