import { readFile } from 'node:fs/promises'
import { loadTokenizer, type Tokenizer } from '../../src/data/tokenizer.ts'

/** The files of a tokenizer in a folder, as a loaded model hands them over. */
export function assetsOf(folder: URL): ReadonlyMap<string, () => Promise<Uint8Array>> {
  const names = ['tokenizer.json', 'tokenizer_config.json']
  return new Map(names.map((name) => [name, () => readFile(new URL(name, folder))]))
}

/** The tokenizer of the embedded model: byte-level BPE of 4,096, a BOS that is named and not added. */
export function loadBrownTokenizer(): Promise<Tokenizer> {
  return loadTokenizer(assetsOf(new URL('../../models/brown-llama/', import.meta.url)), 4096)
}
