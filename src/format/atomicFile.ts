import { type FileHandle, open, rename, rm, stat } from 'node:fs/promises'
import { dirname } from 'node:path'
import { OutputError } from '../errors.ts'
import type { StopSignal } from '../types.ts'
import { checkSpace, outputFailure } from './outputFailure.ts'
import { removeLeftovers, temporaryBeside } from './temporaries.ts'

/** A file whose bytes are on the disk under a temporary name beside its place. */
export interface StagedFile {
  readonly path: string
  /** Puts the file in its place, at once and over whatever was there. */
  commit(): Promise<void>
  /** Removes the temporary; does nothing after `commit`. */
  discard(): Promise<void>
}

export interface WriteOptions {
  /** All bytes that will come: refused beforehand where the disk has not as many, and named where it fills up. */
  readonly sizeBytes?: number
  /** Looked at before each chunk; the abort's reason is thrown. */
  readonly signal?: StopSignal | undefined
}

/** Writes `data` to `path`: afterwards the file is there whole, or as it was before. Throws `OutputError`. */
export function writeFileAtomic(path: string, data: Uint8Array | string, options: WriteOptions = {}): Promise<void> {
  const bytes = typeof data === 'string' ? new TextEncoder().encode(data) : data
  return writeChunksAtomic(path, [bytes], { sizeBytes: bytes.length, ...options })
}

/** Throws `OutputError` where there is a file with something in it, or anything else, at `path`. */
export async function refuseExisting(path: string): Promise<void> {
  const found = await stat(path).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return undefined
    throw error
  })
  if (found === undefined || (found.isFile() && found.size === 0)) return
  throw new OutputError(`${path}: is there already, expected a new name; name another, or ask to replace it`)
}

/** `writeFileAtomic` for a file larger than memory: each chunk is asked for when the one before is written. */
export async function writeChunksAtomic(path: string, chunks: Chunks, options: WriteOptions = {}): Promise<void> {
  const staged = await stageFile(path, chunks, options)
  await staged.commit()
}

export type Chunks = Iterable<Uint8Array> | AsyncIterable<Uint8Array>

/**
 * Writes the chunks beside `path` and flushes them, so that several files can take their places together. Where
 * anything fails, in the chunks or on the disk, the temporary is removed and an `OutputError` with the cure thrown;
 * errors of the toolkit's own and the reason of an abort pass through.
 */
export async function stageFile(path: string, chunks: Chunks, options: WriteOptions = {}): Promise<StagedFile> {
  const temporary = temporaryBeside(path, 'tmp')
  const failure = (cause: unknown): Promise<unknown> =>
    outputFailure(path, cause, { neededBytes: options.sizeBytes, signal: options.signal })
  const discard = (): Promise<void> => rm(temporary, { force: true })
  try {
    options.signal?.throwIfAborted()
    await removeLeftovers(path)
    if (options.sizeBytes !== undefined) await checkSpace(path, options.sizeBytes)
    await writeNew(temporary, chunks, options.signal)
  } catch (cause) {
    await discard()
    throw await failure(cause)
  }
  return {
    path,
    async commit() {
      try {
        await rename(temporary, path)
        await syncFolder(dirname(path))
      } catch (cause) {
        await discard()
        throw await failure(cause)
      }
    },
    discard,
  }
}

/** Flushes the names in a folder: without it, a file that was renamed may have its old name again after a power cut. */
export async function syncFolder(path: string): Promise<void> {
  // windows neither opens a folder nor needs it
  if (process.platform === 'win32') return
  const handle = await open(path, 'r')
  try {
    await handle.sync()
  } finally {
    await handle.close()
  }
}

async function writeNew(path: string, chunks: Chunks, signal: StopSignal | undefined): Promise<void> {
  const handle = await open(path, 'wx')
  try {
    for await (const chunk of chunks) {
      signal?.throwIfAborted()
      await writeFully(handle, chunk)
    }
    signal?.throwIfAborted()
    await handle.sync()
  } finally {
    await handle.close()
  }
}

async function writeFully(handle: FileHandle, bytes: Uint8Array): Promise<void> {
  for (let done = 0; done < bytes.length; ) {
    // one write() moves at most 2 GiB, and may move less than asked
    const { bytesWritten } = await handle.write(bytes, done, Math.min(bytes.length - done, 2 ** 30))
    done += bytesWritten
  }
}
