import { UnsupportedModelError } from '../errors.ts'
import { isCustomConfig, readCustomConfig } from './customConfig.ts'
import { describeModel } from './describe.ts'
import { embeddedModelPath } from './embedded.ts'
import { openFolder } from './folder.ts'
import { isGgufPath, openGguf } from './gguf/open.ts'
import { resolveModel } from './hub.ts'
import type { Model } from './model.ts'
import { checkTiedHead } from './tiedHead.ts'

export interface LoadOptions {
  /** Branch, tag or commit of a hub id. */
  readonly revision?: string | undefined
}

/**
 * The model called `reference`: `embedded`, a folder, a .gguf file or a hub id, downloaded into the shared cache when it is not there.
 * Only headers are read, and a head that should be the embeddings; weights are read when asked for. The caller closes `weights`.
 * Throws `UnsupportedModelError` or `CheckpointError`.
 */
export async function loadModel(reference: string, options: LoadOptions = {}): Promise<Model> {
  const path = reference === 'embedded' ? embeddedModelPath : await resolveModel(reference, options)
  const model = await openModel(reference, path)
  try {
    await checkTiedHead(model)
    return model
  } catch (error) {
    await model.weights.close()
    throw error
  }
}

/** The model in the folder or .gguf file at `path`, named `id`. The engine opens again by it what `loadModel` has checked. */
export async function openModel(id: string, path: string): Promise<Model> {
  const opened = isGgufPath(path) ? await openGguf(path) : await openFolder(path)
  try {
    // a custom export of ours: the base family without some blocks, or with narrower ones
    const isCustom = !isGgufPath(path) && isCustomConfig(opened.config)
    const custom = isCustom ? { ...readCustomConfig(opened.config), addedBiases: true } : {}
    return describeModel(id, path, { ...opened, ...custom })
  } catch (error) {
    await opened.weights.close()
    throw isGgufPath(path) ? ofMetadata(path, error) : error
  }
}

/** A GGUF file has no config.json: what is wrong in the one that its metadata makes is wrong in the file. */
function ofMetadata(path: string, error: unknown): unknown {
  if (!(error instanceof UnsupportedModelError) || !error.message.startsWith('config.json: ')) return error
  return new UnsupportedModelError(`${path}: its metadata makes a ${error.message}`, { cause: error })
}
