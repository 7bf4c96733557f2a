/** tokenizer.json with one token for each byte and no merges, filled up to `size` tokens: for models that have none. */
export function byteTokenizer(size: number): Uint8Array {
  const isPrinted = (byte: number) => (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || byte >= 174
  let unprinted = 0
  const bytes = Array.from({ length: 256 }, (_, byte) =>
    String.fromCodePoint(isPrinted(byte) ? byte : 256 + unprinted++),
  )
  const json = {
    version: '1.0',
    added_tokens: [],
    normalizer: null,
    pre_tokenizer: { type: 'ByteLevel', add_prefix_space: false, use_regex: true },
    post_processor: null,
    decoder: { type: 'ByteLevel' },
    model: {
      type: 'BPE',
      byte_fallback: false,
      vocab: Object.fromEntries(bytes.slice(0, size).map((token, id) => [token, id])),
      merges: [],
    },
  }
  return new TextEncoder().encode(JSON.stringify(json))
}
