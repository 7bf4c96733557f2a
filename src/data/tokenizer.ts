import { CalibrationError, CheckpointError } from '../errors.ts'
import { cutBetweenWords, mayCutBetweenWords } from './tokenizerCuts.ts'
import { idsInstead, type Json, spelledForLibrary } from './tokenizerJson.ts'
import { createLibraryTokenizer, type LibraryTokenizer } from './tokenizersLibrary.ts'

/** Text ⇄ token ids of one model's vocabulary. */
export interface Tokenizer {
  /** The token that opens a sequence: the one the tokenizer adds, else the one its configuration names. */
  readonly bosTokenId: number | undefined
  /** Whether encoding with special tokens puts `bosTokenId` first. */
  readonly addsBos: boolean
  /** Ids of the text, without special tokens unless asked for. Throws `CalibrationError` for an id the model lacks. */
  encode(text: string, options?: { readonly addSpecialTokens?: boolean }): Int32Array
  /** The text of the ids, special tokens written out. */
  decode(ids: Iterable<number>): string
  /**
   * First place at or after `from` where the text may be cut such that the ids of both parts, encoded on their own and put
   * together, are the ids of the whole; -1 where there is none, or where this tokenizer promises nothing.
   */
  cut(text: string, from: number): number
}

/**
 * Reads a fast tokenizer (`tokenizer.json`, `tokenizer_config.json`) out of a model's files. `vocabSize` is the model's
 * number of embeddings. Ids agree with transformers 5.23 as test/data/tokenizer.test.ts says. Throws `CheckpointError`
 * for a missing or damaged file and for a vocabulary that is not the model's.
 */
export async function loadTokenizer(
  assets: ReadonlyMap<string, () => Promise<Uint8Array>>,
  vocabSize: number,
): Promise<Tokenizer> {
  const json = await readJson(assets, 'tokenizer.json')
  if (json === undefined) {
    throw new CheckpointError(
      `tokenizer.json: is not among the files of the model, expected a fast tokenizer; put the file beside config.json, or ${idsInstead}`,
    )
  }
  const config = (await readJson(assets, 'tokenizer_config.json')) ?? {}
  refuseOtherVocabulary(json, vocabSize)
  const spelled = spelledForLibrary(json)
  let library: LibraryTokenizer
  try {
    library = createLibraryTokenizer(spelled, {
      unk_token: nameOf(config['unk_token']),
      eos_token: nameOf(config['eos_token']),
    })
  } catch (cause) {
    if (cause instanceof CheckpointError) throw cause
    throw new CheckpointError(`tokenizer.json: cannot be used (${(cause as Error).message}); ${idsInstead}`, { cause })
  }
  const opening = openingToken(spelled['post_processor'])
  const bosName = opening ?? nameOf(config['bos_token'])
  const bosTokenId = bosName === undefined ? undefined : library.token_to_id(bosName)
  const cuts = mayCutBetweenWords(json)
  return {
    bosTokenId,
    addsBos: opening !== undefined && bosTokenId !== undefined,
    encode(text, options = {}) {
      const { ids } = library.encode(text, { add_special_tokens: options.addSpecialTokens ?? false })
      return checkedIds(ids, vocabSize, library)
    },
    decode(ids) {
      const list = [...ids]
      return list.length === 0 ? '' : library.decode(list, { clean_up_tokenization_spaces: false })
    },
    cut: (text, from) => (cuts ? cutBetweenWords(text, from) : -1),
  }
}

async function readJson(
  assets: ReadonlyMap<string, () => Promise<Uint8Array>>,
  name: string,
): Promise<Json | undefined> {
  const bytes = await assets.get(name)?.()
  if (bytes === undefined) return undefined
  let value: unknown
  try {
    value = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes))
  } catch (cause) {
    throw new CheckpointError(`${name}: is not JSON (${(cause as Error).message}); is the download complete?`, {
      cause,
    })
  }
  if (value === null || typeof value !== 'object' || Array.isArray(value)) {
    throw new CheckpointError(`${name}: holds ${JSON.stringify(value)?.slice(0, 40)}, expected an object`)
  }
  return value as Json
}

/** Added tokens may lie beyond a vocabulary that was never resized for them; the vocabulary itself may not. */
function refuseOtherVocabulary(json: Json, vocabSize: number): void {
  const model = json['model']
  const vocab = model !== null && typeof model === 'object' ? (model as Json)['vocab'] : undefined
  if (vocab === null || typeof vocab !== 'object') {
    throw new CheckpointError('tokenizer.json: has no model.vocab, expected a vocabulary; is it a tokenizer?')
  }
  let largest = -1
  if (Array.isArray(vocab)) largest = vocab.length - 1
  else for (const id of Object.values(vocab)) if (typeof id === 'number' && id > largest) largest = id
  if (largest >= vocabSize) {
    throw new CheckpointError(
      `tokenizer.json: its vocabulary counts up to id ${largest}, expected at most ${vocabSize - 1} for the vocab_size ${vocabSize} of config.json; it is a tokenizer of another vocabulary`,
    )
  }
}

/** A token of the configuration, written as a string or as an object. */
function nameOf(token: unknown): string | undefined {
  if (typeof token === 'string') return token
  const content = token !== null && typeof token === 'object' ? (token as Json)['content'] : undefined
  return typeof content === 'string' ? content : undefined
}

/** The token a post-processor puts before a text. */
function openingToken(part: unknown): string | undefined {
  if (part === null || part === undefined) return undefined
  const json = part as Json
  switch (json['type']) {
    case 'Sequence':
      return ((json['processors'] ?? []) as unknown[]).map(openingToken).find((token) => token !== undefined)
    case 'TemplateProcessing': {
      const first = ((json['single'] ?? []) as Json[])[0]?.['SpecialToken'] as Json | undefined
      return first === undefined ? undefined : nameOf(first['id'])
    }
    case 'BertProcessing':
    case 'RobertaProcessing':
      return nameOf(((json['cls'] ?? []) as unknown[])[0])
    default:
      return undefined
  }
}

function checkedIds(ids: readonly (number | undefined)[], vocabSize: number, library: LibraryTokenizer): Int32Array {
  const checked = new Int32Array(ids.length)
  for (let i = 0; i < ids.length; i++) {
    const id = ids[i]
    if (id === undefined || id < 0 || id >= vocabSize) {
      const token =
        id === undefined ? 'a token without id' : `token ${JSON.stringify(library.id_to_token(id))} with id ${id}`
      throw new CalibrationError(
        `tokenizer.json: the text gives ${token}, expected ids 0..${vocabSize - 1} of config.json's vocab_size; it is a tokenizer of another vocabulary`,
      )
    }
    checked[i] = id
  }
  return checked
}
