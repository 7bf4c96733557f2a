/**
 * A plain text, cut at every empty line. Joined by `\n\n`, as rows are packed, the paragraphs are the file again,
 * character by character; drawn, they are the texts to draw from. A byte order mark is dropped.
 */
export function paragraphsOf(bytes: Uint8Array): string[] {
  const text = new TextDecoder().decode(bytes)
  return text === '' ? [] : text.split('\n\n')
}
