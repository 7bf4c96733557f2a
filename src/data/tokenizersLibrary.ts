import { createRequire } from 'node:module'
import { CheckpointError } from '../errors.ts'
import { matchAddedTokens, type TextEncoding } from './addedTokens.ts'
import { charsmapNormalizer } from './charsmap.ts'

/** The part of @huggingface/tokenizers that is used here. */
export interface LibraryTokenizer {
  encode(text: string, options: { readonly add_special_tokens: boolean }): { readonly ids: (number | undefined)[] }
  decode(ids: number[], options: { readonly clean_up_tokenization_spaces: boolean }): string
  token_to_id(token: string): number | undefined
  id_to_token(id: number): string | undefined
  readonly normalizer: LibraryNormalizer | null
  readonly decoder: LibraryDecoder | null
}

interface LibraryNormalizer {
  normalize: (text: string) => string
  /** Parts of a sequence. */
  readonly normalizers?: readonly (LibraryNormalizer | null)[]
  /** SentencePiece's table, which the library replaces by Unicode's NFKC and a list of exceptions. */
  readonly charsmap?: string | null
}

interface LibraryDecoder {
  readonly decoders?: readonly (LibraryDecoder | null)[]
  /** Of byte fallback. */
  text_decoder?: InstanceType<typeof TextDecoder>
}

// required, not imported: the declarations of 0.2.0 have relative imports without extensions, which do not compile under
// `nodenext` with library checks on
const { Tokenizer } = createRequire(import.meta.url)('@huggingface/tokenizers') as {
  readonly Tokenizer: new (tokenizer: object, config: object) => LibraryTokenizer & TextEncoding
}

/**
 * The library's tokenizer with three parts put right that no spelling of tokenizer.json reaches: added tokens are found where
 * they are, SentencePiece's table is applied as it is written, and decoded bytes keep U+FEFF.
 */
export function createLibraryTokenizer(tokenizer: object, config: object): LibraryTokenizer {
  const library = new Tokenizer(tokenizer, config)
  applyCharsmaps(library.normalizer)
  keepByteOrderMarks(library.decoder)
  matchAddedTokens(library)
  return library
}

function applyCharsmaps(part: LibraryNormalizer | null): void {
  if (part === null) return
  part.normalizers?.forEach(applyCharsmaps)
  if (typeof part.charsmap !== 'string') return
  const normalize = charsmapNormalizer(part.charsmap)
  if (normalize === undefined) {
    throw new CheckpointError('tokenizer.json: precompiled_charsmap is damaged; is the download complete?')
  }
  part.normalize = normalize
}

function keepByteOrderMarks(part: LibraryDecoder | null): void {
  if (part === null) return
  part.decoders?.forEach(keepByteOrderMarks)
  if (part.text_decoder !== undefined) part.text_decoder = new TextDecoder('utf-8', { ignoreBOM: true })
}
