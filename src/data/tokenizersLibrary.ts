import { createRequire } from 'node:module'

/** The part of @huggingface/tokenizers that is used here. */
export interface LibraryTokenizer {
  encode(text: string, options: { readonly add_special_tokens: boolean }): { readonly ids: (number | undefined)[] }
  decode(ids: number[], options: { readonly clean_up_tokenization_spaces: boolean }): string
  token_to_id(token: string): number | undefined
  id_to_token(id: number): string | undefined
}

/**
 * The library's tokenizer. It is required, not imported, because the declarations of 0.2.0 have relative imports without
 * extensions, which do not compile under `nodenext` with library checks on.
 */
export const { Tokenizer: LibraryTokenizer } = createRequire(import.meta.url)('@huggingface/tokenizers') as {
  readonly Tokenizer: new (tokenizer: object, config: object) => LibraryTokenizer
}
