import { CheckpointError } from '../../errors.ts'
import type { CheckpointFile } from '../checkpointFile.ts'

/** The largest headers in use (a vocabulary of 262144 tokens with its merges) stay below 32 MiB. */
const MAX_HEADER_BYTES = 2 ** 27

/** Chat templates, the longest strings in use, stay below 1 MiB. */
const MAX_STRING_BYTES = 2 ** 24

const WINDOW_BYTES = 2 ** 20

/**
 * Reads the header of a GGUF file from front to back through a window, so that a hostile length is refused before
 * anything of that size is allocated. Every `read…` method needs its bytes made ready with `need` first.
 */
export class HeaderCursor {
  readonly #file: CheckpointFile
  #window = new Uint8Array(0)
  #view = new DataView(this.#window.buffer)
  #windowStart = 0
  #offset = 0
  readonly #text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

  constructor(file: CheckpointFile) {
    this.#file = file
  }

  get position(): number {
    return this.#windowStart + this.#offset
  }

  /** Whether the next `length` bytes are in the window; asked in hot loops, where awaiting `need` would cost. */
  has(length: number): boolean {
    return this.#offset + length <= this.#window.length
  }

  /** Makes the next `length` bytes readable. Throws `CheckpointError` where the file or the allowed header ends first. */
  async need(length: number, what: string): Promise<void> {
    if (this.has(length)) return
    const { path, size } = this.#file
    const start = this.position
    if (start + length > size) {
      throw new CheckpointError(
        `${path}: ${what} takes ${length} bytes from byte ${start}, expected at most ${size - start} as the file ends at ${size}; is the download complete?`,
      )
    }
    if (start + length > MAX_HEADER_BYTES) {
      throw new CheckpointError(
        `${path}: ${what} takes ${length} bytes from byte ${start}, expected a header of at most ${MAX_HEADER_BYTES} bytes; is this a GGUF model?`,
      )
    }
    const windowBytes = Math.min(Math.max(length, WINDOW_BYTES), size - start, MAX_HEADER_BYTES - start)
    this.#window = await this.#file.read(start, windowBytes)
    this.#view = new DataView(this.#window.buffer)
    this.#windowStart = start
    this.#offset = 0
  }

  readUint32(): number {
    const value = this.#view.getUint32(this.#offset, true)
    this.#offset += 4
    return value
  }

  readUint64(): bigint {
    const value = this.#view.getBigUint64(this.#offset, true)
    this.#offset += 8
    return value
  }

  /** A copy of the next `length` bytes, in a buffer of its own. */
  readBytes(length: number): Uint8Array<ArrayBuffer> {
    const bytes = this.#window.slice(this.#offset, this.#offset + length)
    this.#offset += length
    return bytes
  }

  /** A string with its length before it, the way GGUF stores all of them; `what` names it in messages. */
  async string(what: string, maxBytes = MAX_STRING_BYTES): Promise<string> {
    if (!this.has(8)) await this.need(8, `the length of ${what}`)
    const length = this.readUint64()
    if (length > BigInt(maxBytes)) {
      throw new CheckpointError(
        `${this.#file.path}: ${what} is ${length} bytes long, expected at most ${maxBytes}; is the file damaged?`,
      )
    }
    const byteLength = Number(length)
    if (!this.has(byteLength)) await this.need(byteLength, what)
    const bytes = this.#window.subarray(this.#offset, this.#offset + byteLength)
    this.#offset += byteLength
    try {
      return this.#text.decode(bytes)
    } catch (cause) {
      throw new CheckpointError(
        `${this.#file.path}: ${what}, before byte ${this.position}, is not valid UTF-8, expected text; is the file damaged?`,
        { cause },
      )
    }
  }
}
