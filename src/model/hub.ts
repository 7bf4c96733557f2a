import { stat } from 'node:fs/promises'
import { CheckpointError } from '../errors.ts'

export interface HubOptions {
  /** Branch, tag or commit; `main` unless given. */
  readonly revision?: string | undefined
}

/** The local path of a model: a folder or a .gguf file is returned as it is. */
export async function resolveModel(reference: string, _options: HubOptions = {}): Promise<string> {
  if ((await stat(reference).catch(() => undefined)) !== undefined) return reference
  throw new CheckpointError(`${reference}: is no folder and no file here; is the path right?`)
}
