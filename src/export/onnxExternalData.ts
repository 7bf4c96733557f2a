import { join } from 'node:path'
import { UnsupportedModelError } from '../errors.ts'
import { writeChunksAtomic } from '../format/atomicFile.ts'
import type { OnnxInitializer } from '../format/onnx/encode.ts'
import type { StopSignal } from '../types.ts'
import type { OnnxConstant } from './onnxWeights.ts'

/** Browsers and protobuf stop at 2 GiB a file. */
const maxFileBytes = 2 ** 31 - 2 ** 20

/** transformers.js fetches no more files for one model. */
const maxFiles = 100

/** What onnxruntime asks of data that it maps into memory. */
const alignment = 64

const elementBytes: Readonly<Partial<Record<OnnxConstant['type'], number>>> = {
  float32: 4,
  float16: 2,
  uint8: 1,
  int64: 8,
  int32: 4,
}

/** Where the constants of a model lie in the files beside it. */
export interface ExternalData {
  readonly initializers: readonly OnnxInitializer[]
  readonly files: readonly DataFile[]
}

export interface DataFile {
  readonly name: string
  readonly sizeBytes: number
  readonly parts: readonly { readonly constant: OnnxConstant; readonly offset: number; readonly length: number }[]
}

/**
 * Lays the constants of `model` out in `model_data`, `model_data_1` …, as transformers.js numbers them. Throws
 * `UnsupportedModelError` for one that is larger than a file may be.
 */
export function layOutData(model: string, constants: readonly OnnxConstant[]): ExternalData {
  const initializers: OnnxInitializer[] = []
  const files: {
    name: string
    sizeBytes: number
    parts: { constant: OnnxConstant; offset: number; length: number }[]
  }[] = []
  for (const constant of constants) {
    const { name, type, dims } = constant
    const length = dims.reduce((product, size) => product * size, elementBytes[type] ?? Number.NaN)
    if (length > maxFileBytes) {
      throw new UnsupportedModelError(
        `${model}: "${name}" has ${length} bytes, expected at most ${maxFileBytes} in a file that browsers read; export a smaller dtype`,
      )
    }
    let file = files.at(-1)
    let offset = Math.ceil((file?.sizeBytes ?? 0) / alignment) * alignment
    if (file === undefined || offset + length > maxFileBytes) {
      file = { name: `${model}_data${files.length === 0 ? '' : `_${files.length}`}`, sizeBytes: 0, parts: [] }
      files.push(file)
      offset = 0
    }
    file.parts.push({ constant, offset, length })
    file.sizeBytes = offset + length
    initializers.push({ name, type, dims, data: { file: file.name, offset, length } })
  }
  if (files.length > maxFiles) {
    throw new UnsupportedModelError(
      `${model}: needs ${files.length} data files, expected at most ${maxFiles}; export a smaller dtype`,
    )
  }
  return { initializers, files }
}

/** Writes the data files into `folder`, one constant in memory at a time. */
export async function writeData(
  folder: string,
  files: readonly DataFile[],
  options: { readonly signal?: StopSignal | undefined; readonly onWritten?: (bytes: number) => void },
): Promise<void> {
  for (const file of files) {
    await writeChunksAtomic(join(folder, file.name), chunksOf(file, options.onWritten), {
      sizeBytes: file.sizeBytes,
      signal: options.signal,
    })
  }
}

async function* chunksOf(
  file: DataFile,
  onWritten: ((bytes: number) => void) | undefined,
): AsyncGenerator<Uint8Array, void> {
  let written = 0
  for (const { constant, offset, length } of file.parts) {
    if (offset > written) yield new Uint8Array(offset - written)
    let found = 0
    for await (const piece of constant.data()) {
      found += piece.length
      yield piece
    }
    if (found !== length) throw new RangeError(`"${constant.name}" came with ${found} bytes, expected ${length}`)
    written = offset + length
    onWritten?.(length)
  }
}
