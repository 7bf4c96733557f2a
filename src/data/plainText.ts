import { CalibrationError } from '../errors.ts'

/**
 * A plain text, cut at every empty line. Joined by `\n\n`, as rows are packed, the paragraphs are the file again,
 * character by character; drawn, they are the texts to draw from. A byte order mark is dropped. Throws
 * `CalibrationError` for bytes that are not UTF-8.
 */
export function paragraphsOf(source: string, bytes: Uint8Array): string[] {
  const text = decodeText(source, bytes)
  return text === '' ? [] : text.split('\n\n')
}

/** UTF-8 as a string, without a byte order mark. Throws `CalibrationError` naming the file. */
export function decodeText(source: string, bytes: Uint8Array): string {
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes)
  } catch (cause) {
    throw new CalibrationError(`${source}: is not UTF-8; save it as UTF-8, or is it a text?`, { cause })
  }
}
