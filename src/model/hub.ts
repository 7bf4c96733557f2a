import { stat } from 'node:fs/promises'
import { join } from 'node:path'
import { CheckpointError } from '../errors.ts'
import type { StopSignal } from '../types.ts'
import { carriedPaths } from './carriedFiles.ts'
import { folderOfFile } from './folder.ts'
import { isGgufPath } from './gguf/open.ts'
import { hubCachePath } from './hubCache.ts'
import type { HubProgress } from './hubProgress.ts'
import { downloadSnapshot } from './hubSnapshot.ts'

export interface HubOptions {
  /** Branch, tag or commit; `main` unless given. */
  readonly revision?: string | undefined
  /** Called as bytes arrive; never when the cache has everything. */
  readonly onProgress?: ((progress: HubProgress) => void) | undefined
  readonly signal?: StopSignal | undefined
}

/**
 * The local path of a model. A folder or a .gguf file is returned as it is, for a .safetensors file its folder; `owner/name` is downloaded into the hub's
 * shared cache, only its configuration, safetensors and what an export carries along, and `owner/name:file.gguf` only that file.
 * Throws `CheckpointError` when there is no such model, no access, no network, or nothing in it that can be read.
 */
export async function resolveModel(reference: string, options: HubOptions = {}): Promise<string> {
  const found = await stat(reference).catch(() => undefined)
  if (found !== undefined) return found.isFile() && !isGgufPath(reference) ? folderOfFile(reference) : reference
  const match = /^((?:[\w][\w.-]*\/)?[\w][\w.-]*)(?::([^:\\]+\.gguf))?$/i.exec(reference)
  const [, name, file] = (match ?? []) as unknown as [string, string | undefined, string | undefined]
  // a word may be a path that is not there: it is an id where Python has downloaded that
  if (name === undefined || !(name.includes('/') || (await isCached(name)))) {
    throw new CheckpointError(
      `${reference}: is no folder and no file here, expected one, or a hub id "owner/name" or "owner/name:file.gguf", "name" alone where the cache has it; is the path right?`,
    )
  }
  const { folder } = await downloadSnapshot({
    repository: { type: 'model', name },
    revision: options.revision ?? 'main',
    select: (paths) => (file === undefined ? modelFiles(name, paths) : ggufFile(name, file, paths)),
    onProgress: options.onProgress,
    signal: options.signal,
  })
  return file === undefined ? folder : join(folder, file)
}

/** Whether the cache has a model of this name, without an owner as the hub's oldest are. */
async function isCached(name: string): Promise<boolean> {
  return (await stat(join(hubCachePath(), `models--${name}`)).catch(() => undefined)) !== undefined
}

function modelFiles(name: string, paths: readonly string[]): string[] {
  const top = paths.filter((path) => !path.includes('/'))
  if (!top.includes('config.json')) {
    throw new CheckpointError(`${name}: has no config.json, expected a model of transformers; ${adviceFor(paths)}`)
  }
  const weights = weightFiles(top)
  if (weights.length === 0) {
    throw new CheckpointError(`${name}: has no *.safetensors beside config.json; ${adviceFor(paths)}`)
  }
  return ['config.json', ...carriedPaths(paths), ...weights]
}

/** One whole model, not a second copy of it: the file or the shards of that name before any other. */
function weightFiles(paths: readonly string[]): string[] {
  if (paths.includes('model.safetensors')) return ['model.safetensors']
  if (paths.includes('model.safetensors.index.json')) {
    return ['model.safetensors.index.json', ...paths.filter((path) => /^model-\d+-of-\d+\.safetensors$/.test(path))]
  }
  return paths.filter((path) => /\.safetensors(\.index\.json)?$/.test(path))
}

function ggufFile(name: string, file: string, paths: readonly string[]): string[] {
  if (paths.includes(file)) return [file]
  throw new CheckpointError(`${name}: has no file "${file}"; ${adviceFor(paths)}`)
}

function adviceFor(paths: readonly string[]): string {
  const gguf = paths.filter(isGgufPath)
  if (gguf.length > 0) return `its GGUF files are ${gguf.slice(0, 8).join(', ')}: add one after a colon`
  if (paths.some((path) => /\.(bin|pt|pth|ckpt)$/.test(path))) {
    return 'its pickled weights are never opened, because that runs their code: save the model with safe_serialization in Python'
  }
  return 'is it a model?'
}
