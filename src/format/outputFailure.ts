import { statfs } from 'node:fs/promises'
import { dirname } from 'node:path'
import { OutputError, ToolkitError } from '../errors.ts'
import type { StopSignal } from '../types.ts'

/** Cure by the system's error code; whatever is not here is told as the system tells it. */
const cures: Readonly<Record<string, string>> = {
  EDQUOT: 'the quota is used up: free some of it, or write to another disk',
  EFBIG:
    'the file is larger than this process or file system allows (ulimit -f): raise the limit, or write smaller shards',
  EACCES: 'permission denied: choose a folder you may write to',
  EPERM: 'permission denied: choose a folder you may write to',
  EROFS: 'the file system is read-only: choose another folder',
  ENOENT: 'the folder does not exist: create it first, or choose another',
  ENOTDIR: 'a part of the path is a file: choose another folder',
  EISDIR: 'a folder of this name is in the way: remove it, or choose another name',
  EXDEV: 'a mounted folder cannot be replaced: name a folder inside it',
  EBUSY: 'a mounted or busy folder cannot be replaced: name a folder inside it',
}

/**
 * The `OutputError` for a write to `path` that failed, with its cure; a `ToolkitError` (a source that could not be read)
 * and the reason of an abort are returned as they are. `neededBytes` is the size of the whole file, where
 * it is known.
 */
export async function outputFailure(
  path: string,
  cause: unknown,
  options: { readonly neededBytes?: number | undefined; readonly signal?: StopSignal | undefined } = {},
): Promise<unknown> {
  if (cause instanceof ToolkitError) return cause
  if (options.signal?.aborted === true && cause === options.signal.reason) return cause
  const code = (cause as { code?: unknown } | null)?.code
  if (code === 'ENOSPC') return diskFull(path, await freeBytes(path), options.neededBytes, cause)
  const message = cause instanceof Error ? cause.message : String(cause)
  const known = typeof code === 'string' && Object.hasOwn(cures, code) ? cures[code] : undefined
  const cure = known ?? 'nothing was left behind; correct the cause and try again'
  return new OutputError(`${path}: cannot be written (${message.replace(/\s+/g, ' ')}); ${cure}`, { cause })
}

/** Throws `OutputError` where the disk says beforehand that `neededBytes` will not fit; half a model fills a disk for nothing. */
export async function checkSpace(path: string, neededBytes: number): Promise<void> {
  const free = await freeBytes(path)
  if (free !== undefined && free < neededBytes) throw diskFull(path, free, neededBytes, undefined)
}

function diskFull(path: string, free: number | undefined, needed: number | undefined, cause: unknown): OutputError {
  const needs = needed === undefined ? 'it does not fit' : `it needs ${needed} bytes`
  const left = free === undefined ? '' : `, ${free} are free`
  return new OutputError(`${path}: disk full: ${needs}${left}; free some space, or write to another disk`, { cause })
}

/** Free bytes of the disk behind `path`; undefined where the file system does not tell. */
async function freeBytes(path: string): Promise<number | undefined> {
  try {
    const { blocks, bavail, bsize } = await statfs(dirname(path))
    // some network and user-space file systems answer zero to everything
    return blocks === 0 ? undefined : bavail * bsize
  } catch {
    // only decorates a message: a folder that cannot be asked will fail on its own when written to
    return undefined
  }
}
