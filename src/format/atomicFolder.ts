import { mkdir, open, readdir, realpath, rename, rm, rmdir } from 'node:fs/promises'
import { dirname, join, resolve } from 'node:path'
import { OutputError } from '../errors.ts'
import type { StopSignal } from '../types.ts'
import { syncFolder } from './atomicFile.ts'
import { makeFolder } from './makeFolder.ts'
import { outputFailure } from './outputFailure.ts'
import { removeLeftovers, temporaryBeside } from './temporaries.ts'

export interface PublishOptions {
  /** Replace a folder that has files in it, whosever they are. Without it such a folder is refused. */
  readonly replace?: boolean
  readonly signal?: StopSignal | undefined
}

/**
 * Lets `fill` write into an empty folder beside `path`, then gives it the name `path`: afterwards the folder is there
 * whole, or as it was before, also when the process is killed. A folder that is replaced is set aside between two
 * renames; killed just there, the next call puts it back. Missing parents are created. Returns what `fill` returns.
 * Throws `OutputError`, or what `fill` throws of the toolkit's own errors.
 */
export async function publishFolder<T>(
  path: string,
  fill: (folder: string) => Promise<T>,
  options: PublishOptions = {},
): Promise<T> {
  let temporary: string | undefined
  try {
    options.signal?.throwIfAborted()
    await makeFolder(dirname(resolve(path)))
    const target = await targetOf(resolve(path))
    await removeLeftovers(target)
    const found = await entriesOf(target)
    if (found !== undefined && found.length > 0 && options.replace !== true) {
      throw new OutputError(
        `${path}: has ${found.length} files (${found[0]} …), expected a new or an empty folder; name another, or ask to replace it`,
      )
    }
    temporary = temporaryBeside(target, 'tmp')
    await mkdir(temporary)
    const result = await fill(temporary)
    options.signal?.throwIfAborted()
    await syncTree(temporary)
    await putInPlace(temporary, target)
    return result
  } catch (cause) {
    if (temporary !== undefined) await rm(temporary, { recursive: true, force: true })
    throw await outputFailure(path, cause, { signal: options.signal })
  }
}

/** A link to a folder stays a link: what it points to is replaced. */
async function targetOf(path: string): Promise<string> {
  try {
    return await realpath(path)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return path
    throw error
  }
}

/** Names in a folder; undefined where there is none. */
async function entriesOf(path: string): Promise<string[] | undefined> {
  try {
    return await readdir(path)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined
    throw error
  }
}

async function syncTree(folder: string): Promise<void> {
  for (const entry of await readdir(folder, { withFileTypes: true })) {
    const path = join(folder, entry.name)
    if (entry.isDirectory()) await syncTree(path)
    else if (entry.isFile()) {
      // windows flushes only what is open for writing
      const handle = await open(path, process.platform === 'win32' ? 'r+' : 'r')
      try {
        await handle.sync()
      } finally {
        await handle.close()
      }
    }
  }
  await syncFolder(folder)
}

async function putInPlace(temporary: string, target: string): Promise<void> {
  const found = await entriesOf(target)
  if (found === undefined || found.length === 0) {
    if (found !== undefined) await rmdir(target)
    await rename(temporary, target)
    await syncFolder(dirname(target))
    return
  }
  const aside = temporaryBeside(target, 'old')
  await rename(target, aside)
  try {
    await rename(temporary, target)
  } catch (error) {
    await rename(aside, target)
    throw error
  }
  await syncFolder(dirname(target))
  try {
    await rm(aside, { recursive: true, force: true })
  } catch (cause) {
    throw new OutputError(
      `${aside}: the folder replaced by ${target} cannot be removed (${(cause as Error).message}); the new one is in place, remove the old one by hand`,
      { cause },
    )
  }
}
