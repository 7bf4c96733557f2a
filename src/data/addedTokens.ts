/** What a tokenizer of @huggingface/tokenizers 0.2.0 cuts a text by, and what becomes of the parts. */
export interface TextEncoding {
  readonly added_tokens: readonly LibraryAddedToken[]
  /** Cut a text before and after every added token, those matched in the text as it is and those in the normalized one. */
  readonly splitter_unnormalized: Splitter
  readonly splitter_normalized: Splitter
  readonly normalizer: ((text: string) => string) | null
  readonly pre_tokenizer: ((text: string, place: { readonly section_index: number }) => string[]) | null
  readonly model: (words: readonly string[]) => string[]
  encode_text: (text: string | null) => string[] | null
}

interface Splitter {
  split(text: string): string[]
}

export interface LibraryAddedToken {
  readonly content: string
  readonly single_word: boolean
  readonly lstrip: boolean
  readonly rstrip: boolean
  readonly normalized: boolean
}

/**
 * Makes `encoding` find added tokens where the Rust library does. The library of npm takes a normalized text that reads like a token
 * for the token, and `single_word` for nothing, and strips JavaScript's white space instead of Unicode's.
 */
export function matchAddedTokens(encoding: TextEncoding): void {
  const { added_tokens: added, splitter_unnormalized: raw, splitter_normalized: inNormalized, normalizer } = encoding
  const isNormalized = (token: LibraryAddedToken) => token.normalized && normalizer !== null
  const asWritten = new Map(added.filter((token) => !isNormalized(token)).map((token) => [token.content, token]))
  const normalized = new Map(added.filter(isNormalized).map((token) => [normalizer!(token.content), token]))
  encoding.encode_text = (text) =>
    text === null
      ? null
      : partsOf(raw.split(text), asWritten).flatMap((section, section_index) =>
          typeof section !== 'string'
            ? section.content
            : partsOf(inNormalized.split(normalizer?.(section) ?? section), normalized).flatMap((part) => {
                if (typeof part !== 'string') return part.content
                return encoding.model(encoding.pre_tokenizer?.(part, { section_index }) ?? [part])
              }),
        )
}

/** The tokens among `sections` and the text between them, none of it empty. */
function partsOf(
  sections: readonly string[],
  tokens: ReadonlyMap<string, LibraryAddedToken>,
): (string | LibraryAddedToken)[] {
  const parts: (string | LibraryAddedToken)[] = []
  // white space after a token that takes it, and text after a word that only looked like a token
  let [strips, continues] = [false, false]
  for (const [i, section] of sections.entries()) {
    const token = tokens.get(section)
    const before = parts.at(-1)
    const isInsideWord =
      token?.single_word === true &&
      (/[\p{L}\p{M}\p{N}\p{Pc}]$/u.test(sections[i - 1] ?? '') ||
        /^[\p{L}\p{M}\p{N}\p{Pc}]/u.test(sections[i + 1] ?? ''))
    if (token === undefined || isInsideWord) {
      const text = strips ? section.replace(/^\p{White_Space}+/u, '') : section
      if (typeof before === 'string' && (continues || isInsideWord)) parts[parts.length - 1] = before + text
      else parts.push(text)
      continues = isInsideWord
      strips = false
      continue
    }
    if (token.lstrip && typeof before === 'string') parts[parts.length - 1] = before.replace(/\p{White_Space}+$/u, '')
    parts.push(token)
    strips = token.rstrip
    continues = false
  }
  return parts.filter((part) => part !== '')
}
