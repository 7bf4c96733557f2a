import { readFile } from 'node:fs/promises'
import { CalibrationError } from '../errors.ts'
import { embeddedTexts } from './embeddedText.ts'
import { paragraphsOf } from './plainText.ts'

/** Texts and what they are called: data set, configuration and split are part of the name. */
export interface Texts {
  readonly name: string
  readonly texts: readonly string[]
}

export interface TextOptions {
  /** The column or key that holds the text. */
  readonly column?: string
}

/** Reads texts. `embedded` and `embedded:test` are the corpus that comes with the package; anything else is a file. */
export async function readTexts(source: string, _options: TextOptions = {}): Promise<Texts> {
  if (source === 'embedded' || source === 'embedded:train') return readEmbedded('train')
  if (source === 'embedded:test') return readEmbedded('test')
  try {
    return { name: source, texts: paragraphsOf(await readFile(source)) }
  } catch (cause) {
    throw new CalibrationError(`${source}: cannot be read (${(cause as Error).message}); is the path right?`, { cause })
  }
}

async function readEmbedded(split: 'train' | 'test'): Promise<Texts> {
  const { name, path } = embeddedTexts[split]
  return { name, texts: paragraphsOf(await readFile(path)) }
}
