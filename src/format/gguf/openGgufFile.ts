import { CheckpointError } from '../../errors.ts'
import { openCheckpointFile } from '../checkpointFile.ts'
import { dequantize } from './dequantize.ts'
import { ggmlTypes } from './ggmlType.ts'
import { type GgufHeader, type GgufTensor, readGgufHeader } from './readGgufHeader.ts'

/** Bytes unpacked at a time, so that a large tensor is not held twice. */
const CHUNK_BYTES = 2 ** 22

/** A GGUF file under its own names: what an exporter copies from, and what a weight store translates. */
export interface GgufFile extends GgufHeader {
  readonly path: string
  /** Values widened to float32, row-major, in the file's own row order: `into`, or an array that the caller owns. */
  readTensor(name: string, into?: Float32Array<ArrayBuffer>): Promise<Float32Array<ArrayBuffer>>
  /** Packed bytes as stored; the caller owns them. */
  readTensorBytes(name: string): Promise<Uint8Array<ArrayBuffer>>
  /** Type number and value of a metadata entry as stored, for a copy without loss; the caller owns the bytes. */
  readMetadataBytes(key: string): Promise<Uint8Array<ArrayBuffer>>
  close(): Promise<void>
}

/** Opens a GGUF file and reads its header. Throws `CheckpointError` for anything that is not a sound one. */
export async function openGgufFile(path: string): Promise<GgufFile> {
  const file = await openCheckpointFile(path)
  let header: GgufHeader
  try {
    header = await readGgufHeader(file)
  } catch (error) {
    await file.close()
    throw error
  }
  const tensorNamed = (name: string): GgufTensor => {
    const tensor = header.tensors.get(name)
    if (tensor === undefined) {
      throw new CheckpointError(`${path}: has no tensor "${name}", expected one of its ${header.tensors.size}`)
    }
    return tensor
  }
  return {
    ...header,
    path,
    async readTensor(name, into = new Float32Array(tensorNamed(name).elements)) {
      const { type, elements, position, byteLength } = tensorNamed(name)
      if (into.length !== elements) throw new RangeError(`${name}: ${elements} elements into ${into.length}`)
      const { blockValues, blockBytes } = ggmlTypes[type]
      const values = into
      const chunkBytes = Math.floor(CHUNK_BYTES / blockBytes) * blockBytes
      const chunk = new Uint8Array(Math.min(chunkBytes, byteLength))
      for (let done = 0; done < byteLength; done += chunkBytes) {
        const bytes = chunk.subarray(0, Math.min(chunkBytes, byteLength - done))
        await file.readInto(bytes, position + done)
        const first = (done / blockBytes) * blockValues
        dequantize(type, bytes, values.subarray(first, first + (bytes.length / blockBytes) * blockValues))
      }
      return values
    },
    async readTensorBytes(name) {
      const { position, byteLength } = tensorNamed(name)
      return file.read(position, byteLength)
    },
    async readMetadataBytes(key) {
      const entry = header.metadata.get(key)
      if (entry === undefined) {
        throw new CheckpointError(`${path}: has no metadata "${key}", expected one of its ${header.metadata.size}`)
      }
      return file.read(entry.position, entry.byteLength)
    },
    close: () => file.close(),
  }
}
