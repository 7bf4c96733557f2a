import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { loadTokenizer, type Tokenizer } from '../data/tokenizer.ts'
import { OutputError, ToolkitError, UnsupportedModelError } from '../errors.ts'
import { openGguf } from '../model/gguf/open.ts'
import type { Model } from '../model/model.ts'
import type { ExportFormat } from './consumer.ts'

/** What tokenizers differ in: cases, contractions, digits, white space, code, other scripts, marks and what none has a word for. */
const text = `The quick brown fox, aged 12,345, doesn't JUMP over 3.14159 dogs — "isn't it?" she'd said.
\tdef f(x):\n        return  x**2  # naïve façade, Ünïcode № 7

日本語のテキスト, Привет мир, مرحبا, हिन्दी, ไทย, 👍🏽👨‍👩‍👧 <|im_start|> </s> [MASK] \u0001 end  `

/**
 * Opens the tokenizer of an export and compares the ids it gives for a text with those of the dense model. Returns how many; 0 where
 * the model has no tokenizer that is read here, or a GGUF file one that other software alone reads. Throws `OutputError` where they differ.
 */
export async function compareTokenizer(path: string, format: ExportFormat, model: Model): Promise<number> {
  if (format === 'mergekit' || !model.assets.has('tokenizer.json')) return 0
  const ours = await read(model.assets, model)
  if (ours === undefined) return 0
  const theirs = await exported(path, format, model)
  if (theirs === undefined) return 0
  const [wanted, found] = [ours.encode(text), theirs.encode(text)]
  const first = wanted.findIndex((id, i) => id !== found[i])
  if (first === -1 && wanted.length === found.length) return wanted.length
  const at = first === -1 ? wanted.length : first
  throw new OutputError(
    `${path}: its tokenizer gives other ids than the model's, ${shown(found, at)} where it gives ${shown(wanted, at)}; export it anew, and report the model`,
  )
}

const shown = (ids: Int32Array, at: number): string => `[${[...ids.subarray(at, at + 4)].join(', ')} …]`

async function exported(path: string, format: ExportFormat, model: Model): Promise<Tokenizer | undefined> {
  if (format !== 'gguf') {
    const names = [...model.assets.keys()]
    return read(new Map(names.map((name) => [name, () => readFile(join(path, name))])), model)
  }
  const { assets, weights } = await openGguf(path)
  try {
    return assets.has('tokenizer.json') ? await read(assets, model) : undefined
  } finally {
    await weights.close()
  }
}

/** Undefined for a kind of tokenizer that is not read here. */
async function read(assets: Model['assets'], model: Model): Promise<Tokenizer | undefined> {
  try {
    return await loadTokenizer(assets, model.sizes['V']!)
  } catch (error) {
    if (error instanceof UnsupportedModelError) return undefined
    if (error instanceof ToolkitError || !(error instanceof Error)) throw error
    throw new OutputError(`its tokenizer cannot be opened (${error.message}); export it anew`, { cause: error })
  }
}
