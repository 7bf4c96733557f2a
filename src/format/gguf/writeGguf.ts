import { OutputError } from '../../errors.ts'
import type { StopSignal } from '../../types.ts'
import { type WriteOptions, writeChunksAtomic } from '../atomicFile.ts'
import { type GgmlType, ggmlTypes } from './ggmlType.ts'
import { type GgufElementType, type GgufNumbers, type GgufValue, ggufValueTypes } from './ggufValue.ts'

/** A tensor to be written: described beforehand, its bytes made when their turn comes. */
export interface GgufTensorSource {
  readonly name: string
  readonly type: GgmlType
  /** Row-major, outermost first; the last dimension is a multiple of the type's block. */
  readonly shape: readonly number[]
  /** Packed bytes, as many as type and shape say, in pieces of any size. Called once. */
  data(): AsyncIterable<Uint8Array> | Iterable<Uint8Array>
}

export interface WriteGgufOptions {
  readonly signal?: StopSignal | undefined
  /** Called after each tensor, with the bytes of tensor data written so far and in all. */
  readonly onProgress?: ((writtenBytes: number, totalBytes: number) => void) | undefined
}

/** ggml's GGML_MAX_NAME less the terminating zero. */
const maxNameBytes = 63

/** GGUF's own default; written by every converter. */
const alignment = 32

/**
 * Writes a GGUF file, version 3, little-endian: metadata and tensors in the order given. One tensor piece is in memory at
 * a time; the file takes its place when it is whole. Returns its size in bytes. Throws `OutputError`; errors of a source
 * that are the toolkit's own pass through.
 *
 * Format: ggml-org/ggml, docs/gguf.md.
 */
export async function writeGguf(
  path: string,
  metadata: ReadonlyMap<string, GgufValue>,
  tensors: readonly GgufTensorSource[],
  options: WriteGgufOptions = {},
): Promise<number> {
  const sizes = tensors.map(({ name, type, shape }) => packedBytes(name, type, shape))
  const header = ggufHeader(metadata, tensors)
  const sizeBytes = header.length + sizes.reduce((total, size) => total + padded(size), 0)
  const write: WriteOptions = { sizeBytes, signal: options.signal }
  await writeChunksAtomic(path, chunksOf(path, header, tensors, sizes, options), write)
  return sizeBytes
}

/** Everything before the first tensor's data, padded to the alignment. */
export function ggufHeader(
  metadata: ReadonlyMap<string, GgufValue>,
  tensors: readonly Pick<GgufTensorSource, 'name' | 'type' | 'shape'>[],
): Uint8Array<ArrayBuffer> {
  const bytes = new ByteList()
  bytes.text('GGUF')
  bytes.uint32(3)
  bytes.uint64(tensors.length)
  bytes.uint64(metadata.size)
  for (const [key, value] of metadata) {
    bytes.string(key)
    writeValue(bytes, value)
  }
  const names = new Set<string>()
  let offset = 0
  for (const { name, type, shape } of tensors) {
    if (names.has(name)) throw new RangeError(`tensor ${name} is given twice`)
    names.add(name)
    bytes.string(name)
    bytes.uint32(shape.length)
    for (const size of shape.toReversed()) bytes.uint64(size)
    bytes.uint32(ggmlTypes[type].id)
    bytes.uint64(offset)
    offset += padded(packedBytes(name, type, shape))
  }
  bytes.align(alignment)
  return bytes.finish()
}

async function* chunksOf(
  path: string,
  header: Uint8Array,
  tensors: readonly GgufTensorSource[],
  sizes: readonly number[],
  options: WriteGgufOptions,
): AsyncGenerator<Uint8Array, void> {
  yield header
  const totalBytes = sizes.reduce((total, size) => total + size, 0)
  let writtenBytes = 0
  for (const [i, tensor] of tensors.entries()) {
    const expected = sizes[i]!
    let found = 0
    for await (const piece of tensor.data()) {
      found += piece.length
      yield piece
    }
    if (found !== expected) {
      throw new OutputError(
        `${path}: tensor "${tensor.name}" came with ${found} bytes, expected ${expected} for ${tensor.type} [${tensor.shape.join(', ')}]; please report this as a bug`,
      )
    }
    yield new Uint8Array(padded(expected) - expected)
    writtenBytes += expected
    options.onProgress?.(writtenBytes, totalBytes)
  }
}

function packedBytes(name: string, type: GgmlType, shape: readonly number[]): number {
  const { blockValues, blockBytes } = ggmlTypes[type]
  const elements = shape.reduce((product, size) => product * size, 1)
  const row = shape.at(-1) ?? 1
  if (shape.length < 1 || shape.length > 4 || !shape.every((size) => Number.isInteger(size) && size > 0)) {
    throw new RangeError(`tensor ${name} has shape [${shape.join(', ')}], expected one to four positive sizes`)
  }
  if (row % blockValues !== 0) {
    throw new RangeError(`tensor ${name} has rows of ${row}, expected a multiple of ${blockValues} for ${type}`)
  }
  if (new TextEncoder().encode(name).length > maxNameBytes) {
    throw new RangeError(`tensor ${name} has a longer name than the ${maxNameBytes} bytes ggml reads`)
  }
  return (elements / blockValues) * blockBytes
}

const padded = (size: number): number => Math.ceil(size / alignment) * alignment

function writeValue(bytes: ByteList, value: GgufValue): void {
  bytes.uint32(ggufValueTypes.indexOf(value.type))
  if (value.type === 'string') bytes.string(value.value)
  else if (value.type !== 'array') bytes.raw(bytesOf(numbersOf(value.type, value.value)))
  else {
    bytes.uint32(ggufValueTypes.indexOf(value.elementType))
    bytes.uint64(value.value.length)
    if (value.elementType === 'string') for (const text of value.value) bytes.string(text)
    else bytes.raw(bytesOf(value.value))
  }
}

function numbersOf(type: Exclude<GgufElementType, 'string'>, value: number | bigint | boolean): GgufNumbers {
  switch (type) {
    case 'uint8':
    case 'bool':
      return Uint8Array.of(Number(value))
    case 'int8':
      return Int8Array.of(Number(value))
    case 'uint16':
      return Uint16Array.of(Number(value))
    case 'int16':
      return Int16Array.of(Number(value))
    case 'uint32':
      return Uint32Array.of(Number(value))
    case 'int32':
      return Int32Array.of(Number(value))
    case 'float32':
      return Float32Array.of(Number(value))
    case 'float64':
      return Float64Array.of(Number(value))
    case 'uint64':
      return BigUint64Array.of(BigInt(value))
    case 'int64':
      return BigInt64Array.of(BigInt(value))
  }
}

const bytesOf = ({ buffer, byteOffset, byteLength }: GgufNumbers): Uint8Array =>
  new Uint8Array(buffer, byteOffset, byteLength)

/** Bytes in a buffer that doubles: vocabularies make headers of some megabytes. */
class ByteList {
  #bytes = new Uint8Array(2 ** 16)
  #length = 0
  readonly #encoder = new TextEncoder()

  raw(bytes: Uint8Array): void {
    if (this.#length + bytes.length > this.#bytes.length) {
      const grown = new Uint8Array(Math.max(2 * this.#bytes.length, this.#length + bytes.length))
      grown.set(this.#bytes)
      this.#bytes = grown
    }
    this.#bytes.set(bytes, this.#length)
    this.#length += bytes.length
  }

  text(text: string): void {
    this.raw(this.#encoder.encode(text))
  }

  uint32(value: number): void {
    this.raw(bytesOf(Uint32Array.of(value)))
  }

  uint64(value: number): void {
    this.raw(bytesOf(BigUint64Array.of(BigInt(value))))
  }

  /** Length first, as GGUF stores all strings. */
  string(text: string): void {
    const bytes = this.#encoder.encode(text)
    this.uint64(bytes.length)
    this.raw(bytes)
  }

  align(to: number): void {
    this.raw(new Uint8Array((to - (this.#length % to)) % to))
  }

  finish(): Uint8Array<ArrayBuffer> {
    return this.#bytes.slice(0, this.#length)
  }
}
