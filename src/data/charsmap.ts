/**
 * SentencePiece's normalisation, as a table in tokenizer.json (`precompiled_charsmap`, base64): the length of a trie in
 * bytes, the trie (a double array as darts-clone 0.32 lays it out), then zero-terminated replacements in UTF-8. Applied as
 * the Rust tokenizers do: a grapheme below six bytes is replaced by what its shortest prefix in the trie says, others
 * character by character. Returns undefined for a table that is damaged.
 */
export function charsmapNormalizer(base64: string): ((text: string) => string) | undefined {
  const bytes = Uint8Array.from(Buffer.from(base64, 'base64'))
  if (bytes.length < 4) return undefined
  const view = new DataView(bytes.buffer)
  const trieBytes = view.getUint32(0, true)
  if (trieBytes % 4 !== 0 || trieBytes === 0 || 4 + trieBytes > bytes.length) return undefined
  const trie = Uint32Array.from({ length: trieBytes / 4 }, (_, i) => view.getUint32(4 + 4 * i, true))
  const replacements = bytes.subarray(4 + trieBytes)

  const replacementOf = (chunk: string): string | undefined => {
    const at = shortestPrefix(trie, encoder.encode(chunk))
    if (at === undefined || at > replacements.length) return undefined
    const end = replacements.indexOf(0, at)
    return decoder.decode(replacements.subarray(at, end < 0 ? replacements.length : end))
  }
  const normalizeAll = (text: string): string => {
    let result = ''
    for (const { segment } of graphemes.segment(text)) {
      const whole = encoder.encode(segment).length < 6 ? replacementOf(segment) : undefined
      if (whole !== undefined) result += whole
      else for (const character of segment) result += replacementOf(character) ?? character
    }
    return result
  }
  // printable ASCII that stands for itself needs no segmentation, unless a neighbour may join it to a grapheme
  const keepsAscii = Array.from({ length: 95 }, (_, i) => String.fromCharCode(32 + i)).every(
    (character) => (replacementOf(character) ?? character) === character,
  )
  return keepsAscii ? (text) => text.replace(/[ -~]?(?:[^ -~]+[ -~]?)+/g, normalizeAll) : normalizeAll
}

const encoder = new TextEncoder()
const decoder = new TextDecoder('utf-8', { ignoreBOM: true })
const graphemes = new Intl.Segmenter('en', { granularity: 'grapheme' })

/** Value of the shortest key that `key` begins with. A unit holds label, offset and whether a leaf hangs below it. */
function shortestPrefix(trie: Uint32Array, key: Uint8Array): number | undefined {
  const offsetOf = (unit: number) => (unit >>> 10) << ((unit & 0x200) >>> 6)
  let node = offsetOf(trie[0] ?? 0)
  for (const byte of key) {
    if (byte === 0) return undefined
    node ^= byte
    const unit = trie[node] ?? 0
    if ((unit & 0x800000ff) >>> 0 !== byte) return undefined
    node ^= offsetOf(unit)
    if ((unit & 0x100) !== 0) return (trie[node] ?? 0) & 0x7fffffff
  }
  return undefined
}
