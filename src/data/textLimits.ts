import { CalibrationError } from '../errors.ts'

/** A JavaScript string holds 2²⁹ characters, and texts are joined into one; some room is left for separators. */
export const maxTextCharacters = 500_000_000

/** Throws `CalibrationError` where `characters` of text are more than fit into one string. */
export function checkTextSize(source: string, characters: number): void {
  if (characters <= maxTextCharacters) return
  throw new CalibrationError(
    `${source}: holds more than ${maxTextCharacters} characters, more than can be packed at once; take a smaller split or a part of the file`,
  )
}
