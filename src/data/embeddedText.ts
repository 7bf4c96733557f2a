import { fileURLToPath } from 'node:url'

/**
 * The texts that come with the package: the Brown corpus as one file to calibrate on and one that the embedded model never
 * saw, to evaluate on. They lie beside the embedded model, at the same depth from `src/data` and from `dist/data`.
 */
export const embeddedTexts: Readonly<Record<'train' | 'test', { readonly name: string; readonly path: string }>> = {
  train: { name: 'brown:train', path: fileURLToPath(new URL('../../models/brown-train.txt', import.meta.url)) },
  test: { name: 'brown:test', path: fileURLToPath(new URL('../../models/brown-heldout.txt', import.meta.url)) },
}
