import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { onTestFinished } from 'vitest'
import { ggufValueTypes } from '../../../src/format/gguf/ggufValue.ts'

/** A GGUF file written by hand, piece by piece, so that any piece can be wrong. */
export class RawGguf {
  readonly #bytes: number[] = []

  uint32(value: number): this {
    for (let shift = 0; shift < 32; shift += 8) this.#bytes.push((value >>> shift) & 255)
    return this
  }

  uint64(value: bigint | number): this {
    for (let shift = 0n; shift < 64n; shift += 8n) this.#bytes.push(Number((BigInt(value) >> shift) & 255n))
    return this
  }

  raw(...bytes: readonly number[]): this {
    this.#bytes.push(...bytes)
    return this
  }

  string(text: string): this {
    const bytes = new TextEncoder().encode(text)
    return this.uint64(bytes.length).raw(...bytes)
  }

  /** Magic number, version 3 and the two counts. */
  start(tensors: bigint | number, metadata: bigint | number): this {
    return this.raw(...new TextEncoder().encode('GGUF'))
      .uint32(3)
      .uint64(tensors)
      .uint64(metadata)
  }

  key(key: string, type: (typeof ggufValueTypes)[number]): this {
    return this.string(key).uint32(ggufValueTypes.indexOf(type))
  }

  /** A row of the tensor table; `dimensions` innermost first, as in the file. */
  tensor(name: string, dimensions: readonly (bigint | number)[], type: number, offset: bigint | number): this {
    this.string(name).uint32(dimensions.length)
    for (const size of dimensions) this.uint64(size)
    return this.uint32(type).uint64(offset)
  }

  /** Fills up to a multiple of `alignment`, then adds `length` zeros of tensor data. */
  data(length: number, alignment = 32): this {
    while (this.#bytes.length % alignment !== 0) this.#bytes.push(0)
    for (let i = 0; i < length; i++) this.#bytes.push(0)
    return this
  }

  get bytes(): Uint8Array<ArrayBuffer> {
    return Uint8Array.from(this.#bytes)
  }

  /** Path of a file with these bytes, removed after the test. */
  async write(): Promise<string> {
    return writeScratch(this.bytes)
  }
}

export async function writeScratch(bytes: Uint8Array): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'blockpruner-test-'))
  onTestFinished(() => rm(folder, { recursive: true, force: true }))
  const path = join(folder, 'model.gguf')
  await writeFile(path, bytes)
  return path
}
