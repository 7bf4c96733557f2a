import { type FileHandle, open, stat } from 'node:fs/promises'
import { CheckpointError } from '../errors.ts'
import { lfsPointerMessage, maxPointerBytes } from '../gitLfs.ts'

/** A file opened for reads by position. Node has no mmap, and checkpoints need not fit in memory. */
export interface CheckpointFile {
  readonly path: string
  readonly size: number
  /** Exactly `length` bytes from `position`. Throws `CheckpointError` where the file ends first. */
  read(position: number, length: number): Promise<Uint8Array<ArrayBuffer>>
  /** As `read`, into `bytes`, all of it. */
  readInto(bytes: Uint8Array<ArrayBuffer>, position: number): Promise<void>
  close(): Promise<void>
}

/** Opens `path` for reads by position. Throws `CheckpointError` when it is missing, not a plain file or a pointer of Git LFS. */
export async function openCheckpointFile(path: string): Promise<CheckpointFile> {
  let handle: FileHandle
  try {
    // asked before it is opened: opening a pipe would wait for its writer
    if (!(await stat(path)).isFile()) {
      throw new CheckpointError(`${path}: is not a plain file; expected a checkpoint file`)
    }
    handle = await open(path, 'r')
  } catch (cause) {
    if (cause instanceof CheckpointError) throw cause
    throw new CheckpointError(`${path}: cannot be opened (${(cause as Error).message}); is the path right?`, { cause })
  }
  const { size } = await handle.stat()
  if (size <= maxPointerBytes) {
    const { buffer, bytesRead } = await handle.read(new Uint8Array(maxPointerBytes), 0, maxPointerBytes, 0)
    const message = lfsPointerMessage(path, buffer.subarray(0, bytesRead))
    if (message !== undefined) {
      await handle.close()
      throw new CheckpointError(message)
    }
  }
  async function readInto(bytes: Uint8Array<ArrayBuffer>, position: number): Promise<void> {
    const { length } = bytes
    let done = 0
    while (done < length) {
      // one read() moves at most 2 GiB
      const step = Math.min(length - done, 2 ** 30)
      const { bytesRead } = await handle.read(bytes, done, step, position + done)
      if (bytesRead === 0) {
        throw new CheckpointError(
          `${path}: ends at byte ${position + done}, expected ${length} bytes from ${position}; is the download complete?`,
        )
      }
      done += bytesRead
    }
  }
  return {
    path,
    size,
    async read(position, length) {
      const bytes = new Uint8Array(length)
      await readInto(bytes, position)
      return bytes
    },
    readInto,
    close: () => handle.close(),
  }
}
