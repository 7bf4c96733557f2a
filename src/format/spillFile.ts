import { type FileHandle, open, unlink } from 'node:fs/promises'
import { join } from 'node:path'
import { OutputError } from '../errors.ts'

/** Numbers put aside on disk for a while. */
export interface SpillFile {
  /** Where the numbers are. */
  write(values: Float32Array): Promise<number>
  read(position: number, length: number): Promise<Float32Array<ArrayBuffer>>
  /** Forgets what was written, so that the space is used again. */
  clear(): void
  close(): Promise<void>
}

/** A file in `folder` that nobody else sees and that is gone with the process. Throws `OutputError` where it cannot be written. */
export async function openSpillFile(folder: string): Promise<SpillFile> {
  const path = join(folder, `.states-${process.pid}-${Date.now()}`)
  const failure = (cause: unknown) =>
    new OutputError(`${path}: states cannot be put aside (${(cause as Error).message}); is the disk full?`, { cause })
  let file: FileHandle
  try {
    file = await open(path, 'wx+')
  } catch (cause) {
    throw failure(cause)
  }
  // an open file without a name goes with the process, however that ends; where that cannot be, it is removed at the end
  const isUnnamed = await unlink(path).then(
    () => true,
    () => false,
  )
  let end = 0
  return {
    async write(values) {
      const position = end
      const bytes = new Uint8Array(values.buffer, values.byteOffset, values.byteLength)
      end += bytes.length
      try {
        for (let done = 0; done < bytes.length; ) {
          done += (await file.write(bytes, done, bytes.length - done, position + done)).bytesWritten
        }
      } catch (cause) {
        throw failure(cause)
      }
      return position
    },
    async read(position, length) {
      const values = new Float32Array(length)
      const bytes = new Uint8Array(values.buffer)
      for (let done = 0; done < bytes.length; ) {
        const { bytesRead } = await file.read(bytes, done, bytes.length - done, position + done)
        if (bytesRead === 0) throw failure(new Error('it ends early'))
        done += bytesRead
      }
      return values
    },
    clear() {
      end = 0
    },
    async close() {
      await file.close()
      if (!isUnnamed) await unlink(path)
    },
  }
}
