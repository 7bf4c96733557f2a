import { openFolder } from './folder.ts'
import { describeModel } from './describe.ts'
import type { Model } from './model.ts'

/** Opens the model in a folder. */
export async function loadModel(path: string): Promise<Model> {
  return describeModel(path, path, await openFolder(path))
}
