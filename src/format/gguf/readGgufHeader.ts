import { CheckpointError } from '../../errors.ts'
import type { CheckpointFile } from '../checkpointFile.ts'
import { type GgmlType, ggmlTypeLabel, ggmlTypeNames, ggmlTypeOf, ggmlTypes } from './ggmlType.ts'
import {
  type GgufElementType,
  type GgufMetadata,
  type GgufNumbers,
  type GgufValue,
  ggufValueTypes,
} from './ggufValue.ts'
import { HeaderCursor } from './headerCursor.ts'

/** Models of a hundred layers with all their experts apart stay below 2^15 tensors. */
const MAX_TENSORS = 2 ** 16

/** Models in use have fewer than a hundred entries. */
const MAX_METADATA = 2 ** 16

/** The longest arrays in use are vocabularies and merges, below 2^20. */
const MAX_ARRAY_LENGTH = 2 ** 23

/** ggml itself stops at 64 bytes for tensors and 65535 for keys. */
const MAX_NAME_BYTES = 2 ** 16

/** GGML_MAX_DIMS. */
const MAX_DIMENSIONS = 4

const DEFAULT_ALIGNMENT = 32

/** Files in use are aligned to 32 bytes, some to a page. */
const MAX_ALIGNMENT = 2 ** 20

export interface GgufTensor {
  readonly name: string
  readonly type: GgmlType
  /** Row-major, outermost first: the reverse of the order in the file. */
  readonly shape: readonly number[]
  readonly elements: number
  /** From the start of the file. */
  readonly position: number
  readonly byteLength: number
}

export interface GgufHeader {
  readonly version: number
  /** Bytes to which every tensor is aligned. */
  readonly alignment: number
  readonly metadata: ReadonlyMap<string, GgufMetadata>
  /** In the order of the file's tensor table. */
  readonly tensors: ReadonlyMap<string, GgufTensor>
}

/**
 * The metadata and tensor table of a GGUF file, versions 2 and 3, little-endian. Nothing in it is trusted: lengths and
 * counts are refused before they are allocated, and every tensor lies aligned, inside the file and apart from the others.
 * Throws `CheckpointError` naming what is wrong.
 *
 * Format: ggml-org/ggml, docs/gguf.md. Like ggml we refuse arrays of arrays, which the specification allows and nobody
 * writes.
 */
export async function readGgufHeader(file: CheckpointFile): Promise<GgufHeader> {
  const { path } = file
  const cursor = new HeaderCursor(file)
  const version = await readVersion(cursor, path)
  await cursor.need(16, 'the table of contents')
  const tensorCount = boundedCount(cursor.readUint64(), MAX_TENSORS, 'tensors', path)
  const metadataCount = boundedCount(cursor.readUint64(), MAX_METADATA, 'metadata entries', path)

  const metadata = new Map<string, GgufMetadata>()
  for (let i = 0; i < metadataCount; i++) {
    const key = await cursor.string(`the key of metadata entry ${i}`, MAX_NAME_BYTES)
    if (metadata.has(key)) {
      throw new CheckpointError(
        `${path}: metadata ${JSON.stringify(key)} appears twice, expected once; is the file damaged?`,
      )
    }
    const position = cursor.position
    const value = await readValue(cursor, `metadata ${JSON.stringify(key)}`, path)
    metadata.set(key, { value, position, byteLength: cursor.position - position })
  }
  const alignment = alignmentOf(metadata, path)

  const entries: TensorEntry[] = []
  for (let i = 0; i < tensorCount; i++) entries.push(await readTensorEntry(cursor, i, path))
  const tensors = placeTensors(entries, Math.ceil(cursor.position / alignment) * alignment, alignment, file)
  return { version, alignment, metadata, tensors }
}

async function readVersion(cursor: HeaderCursor, path: string): Promise<number> {
  await cursor.need(8, 'the magic number and version')
  const magic = new TextDecoder('latin1').decode(cursor.readBytes(4))
  if (magic !== 'GGUF') {
    throw new CheckpointError(`${path}: starts with ${JSON.stringify(magic)}, expected "GGUF"; is this a GGUF file?`)
  }
  const version = cursor.readUint32()
  if (version === 0x02000000 || version === 0x03000000) {
    throw new CheckpointError(`${path}: is big-endian, expected little-endian; convert it with gguf_convert_endian.py`)
  }
  if (version !== 2 && version !== 3) {
    throw new CheckpointError(`${path}: has GGUF version ${version}, expected 2 or 3; convert the model again`)
  }
  return version
}

function boundedCount(count: bigint, limit: number, what: string, path: string): number {
  if (count > BigInt(limit)) {
    throw new CheckpointError(`${path}: declares ${count} ${what}, expected at most ${limit}; is the file damaged?`)
  }
  return Number(count)
}

async function readValue(cursor: HeaderCursor, what: string, path: string): Promise<GgufValue> {
  const type = await readValueType(cursor, what, path)
  if (type === 'string') return { type, value: await cursor.string(what) }
  if (type === 'array') return readArray(cursor, what, path)
  const scalar = (await readNumbers(cursor, type, 1, what))[0] ?? 0
  if (type === 'bool') return { type, value: scalar !== 0 }
  if (type === 'uint64' || type === 'int64') return { type, value: BigInt(scalar) }
  return { type, value: Number(scalar) }
}

async function readValueType(cursor: HeaderCursor, what: string, path: string) {
  await cursor.need(4, `the type of ${what}`)
  const id = cursor.readUint32()
  const type = ggufValueTypes[id]
  if (type === undefined) {
    throw new CheckpointError(
      `${path}: ${what} has value type ${id}, expected 0 to ${ggufValueTypes.length - 1}; is the file damaged?`,
    )
  }
  return type
}

async function readArray(cursor: HeaderCursor, what: string, path: string): Promise<GgufValue> {
  const elementType = await readValueType(cursor, `the elements of ${what}`, path)
  if (elementType === 'array') {
    throw new CheckpointError(
      `${path}: ${what} is an array of arrays, expected numbers or strings; convert the model again`,
    )
  }
  await cursor.need(8, `the length of ${what}`)
  const length = boundedCount(cursor.readUint64(), MAX_ARRAY_LENGTH, `elements in ${what}`, path)
  if (elementType !== 'string') {
    return { type: 'array', elementType, value: await readNumbers(cursor, elementType, length, what) }
  }
  const strings: string[] = []
  for (let i = 0; i < length; i++) strings.push(await cursor.string(`an element of ${what}`))
  return { type: 'array', elementType, value: strings }
}

const numberArrays: Readonly<
  Record<
    Exclude<GgufElementType, 'string'>,
    { readonly BYTES_PER_ELEMENT: number; new (buffer: ArrayBuffer): GgufNumbers }
  >
> = {
  uint8: Uint8Array,
  int8: Int8Array,
  uint16: Uint16Array,
  int16: Int16Array,
  uint32: Uint32Array,
  int32: Int32Array,
  float32: Float32Array,
  float64: Float64Array,
  uint64: BigUint64Array,
  int64: BigInt64Array,
  bool: Uint8Array,
}

async function readNumbers(
  cursor: HeaderCursor,
  type: Exclude<GgufElementType, 'string'>,
  length: number,
  what: string,
): Promise<GgufNumbers> {
  const numbers = numberArrays[type]
  const byteLength = length * numbers.BYTES_PER_ELEMENT
  await cursor.need(byteLength, what)
  return new numbers(cursor.readBytes(byteLength).buffer)
}

function alignmentOf(metadata: ReadonlyMap<string, GgufMetadata>, path: string): number {
  const value = metadata.get('general.alignment')?.value
  if (value === undefined) return DEFAULT_ALIGNMENT
  const alignment = value.type === 'uint32' ? value.value : Number.NaN
  if (!(alignment >= 1 && alignment <= MAX_ALIGNMENT && Number.isInteger(Math.log2(alignment)))) {
    throw new CheckpointError(
      `${path}: metadata "general.alignment" is ${value.type} ${String(value.value).slice(0, 40)}, expected a uint32 power of two up to ${MAX_ALIGNMENT}; is the file damaged?`,
    )
  }
  return alignment
}

/** A row of the tensor table, its offset still counted from the start of the tensor data. */
interface TensorEntry extends Omit<GgufTensor, 'position'> {
  readonly offset: bigint
}

async function readTensorEntry(cursor: HeaderCursor, index: number, path: string): Promise<TensorEntry> {
  const name = await cursor.string(`the name of tensor ${index}`, MAX_NAME_BYTES)
  const subject = `${path}: tensor ${JSON.stringify(name)}`
  await cursor.need(4, `the dimensions of tensor ${index}`)
  const dimensions = cursor.readUint32()
  if (dimensions > MAX_DIMENSIONS) {
    throw new CheckpointError(
      `${subject} has ${dimensions} dimensions, expected at most ${MAX_DIMENSIONS}; is the file damaged?`,
    )
  }
  await cursor.need(dimensions * 8 + 12, `the shape of tensor ${index}`)
  const shape: number[] = []
  let elements = 1
  for (let i = 0; i < dimensions; i++) {
    const size = Number(cursor.readUint64())
    elements *= size
    if (size < 1 || !Number.isSafeInteger(elements)) {
      throw new CheckpointError(
        `${subject} has a dimension of ${size}, expected at least 1 and fewer than 2^53 elements in all; is the file damaged?`,
      )
    }
    shape.unshift(size)
  }
  const typeId = cursor.readUint32()
  const type = ggmlTypeOf(typeId)
  if (type === undefined) {
    throw new CheckpointError(
      `${subject} has type ${ggmlTypeLabel(typeId)}, expected one of ${ggmlTypeNames.join(', ')}; quantize the model to one of these`,
    )
  }
  const { blockValues, blockBytes } = ggmlTypes[type]
  const rowLength = shape.at(-1) ?? 1
  if (rowLength % blockValues !== 0) {
    throw new CheckpointError(
      `${subject} has rows of ${rowLength} ${type} values, expected a multiple of ${blockValues}; is the file damaged?`,
    )
  }
  return { name, type, shape, elements, byteLength: (elements / blockValues) * blockBytes, offset: cursor.readUint64() }
}

/** Turns offsets into positions, checked: aligned, inside the file, unique names, no two tensors sharing a byte. */
function placeTensors(
  entries: readonly TensorEntry[],
  dataPosition: number,
  alignment: number,
  file: CheckpointFile,
): ReadonlyMap<string, GgufTensor> {
  const tensors = new Map<string, GgufTensor>()
  for (const { offset, ...entry } of entries) {
    const subject = `${file.path}: tensor ${JSON.stringify(entry.name)}`
    if (tensors.has(entry.name)) {
      throw new CheckpointError(`${subject} appears twice, expected once; is the file damaged?`)
    }
    if (offset % BigInt(alignment) !== 0n) {
      throw new CheckpointError(
        `${subject} starts at offset ${offset}, expected a multiple of ${alignment}; is the file damaged?`,
      )
    }
    const end = BigInt(dataPosition) + offset + BigInt(entry.byteLength)
    if (end > BigInt(file.size)) {
      throw new CheckpointError(
        `${subject} ends at byte ${end}, expected at most ${file.size}, the size of the file; is the download complete?`,
      )
    }
    tensors.set(entry.name, { ...entry, position: dataPosition + Number(offset) })
  }
  const inFileOrder = [...tensors.values()].sort((a, b) => a.position - b.position)
  for (const [i, tensor] of inFileOrder.entries()) {
    const before = inFileOrder[i - 1]
    if (before && before.position + before.byteLength > tensor.position) {
      throw new CheckpointError(
        `${file.path}: tensor ${JSON.stringify(tensor.name)} starts at byte ${tensor.position}, expected ${before.position + before.byteLength} or later, where ${JSON.stringify(before.name)} ends; is the file damaged?`,
      )
    }
  }
  return tensors
}
