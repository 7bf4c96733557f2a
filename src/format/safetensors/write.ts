import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { OutputError } from '../../errors.ts'
import type { StopSignal } from '../../types.ts'
import { type StagedFile, stageFile } from '../atomicFile.ts'
import { makeFolder } from '../makeFolder.ts'
import { checkSpace, outputFailure } from '../outputFailure.ts'
import { isSafetensorsType, type SafetensorsType, sizeBytesOf } from './dtypes.ts'
import { maxJsonBytes, quoted } from './json.ts'

/** A tensor to be written: described beforehand, its bytes made when their turn comes. */
export interface TensorSource {
  readonly name: string
  readonly type: SafetensorsType
  readonly shape: readonly number[]
  /** Little-endian, row-major, as many bytes as type and shape say. Called once; the bytes are dropped when written. */
  data(): Promise<Uint8Array>
}

export interface WriteSafetensorsOptions {
  /** Bytes of tensor data above which a further file is begun; a larger tensor has a file of its own. Default 5·10⁹. */
  readonly maxShardBytes?: number
  readonly signal?: StopSignal | undefined
  /** Called after each tensor, with the bytes of tensor data written so far and in all. */
  readonly onProgress?: (writtenBytes: number, totalBytes: number) => void
}

type SizedTensor = TensorSource & { readonly sizeBytes: number }

/**
 * Larger elements first, so that every tensor is aligned in memory; then this order, then names. It is the reference
 * implementation's order, which makes the files equal to its own, byte for byte.
 */
const typeOrder: readonly SafetensorsType[] = ['I64', 'F64', 'F32', 'I32', 'BF16', 'F16', 'I16', 'I8', 'U8', 'BOOL']

/**
 * Writes `model.safetensors` into `directory`, or shards `model-00001-of-0000N.safetensors` with their
 * `model.safetensors.index.json`, filled in the order given, as transformers and safetensors load them. Holds one
 * tensor in memory. Returns the names of the files. No file takes its place before all are written; what
 * was written when a source fails, the disk is full or `signal` aborts is removed. Throws `OutputError`; errors of a source that are the toolkit's own pass through.
 */
export async function writeSafetensors(
  directory: string,
  tensors: readonly TensorSource[],
  options: WriteSafetensorsOptions = {},
): Promise<string[]> {
  const { maxShardBytes = 5e9, signal } = options
  if (!(maxShardBytes > 0)) throw new RangeError(`maxShardBytes is ${maxShardBytes}, expected a positive number`)
  const shards = shardsOf(sizedOf(tensors), maxShardBytes)
  const names = shards.map((_, i) => shardName(i, shards.length))
  const totalBytes = shards.flat().reduce((sum, tensor) => sum + tensor.sizeBytes, 0)
  await checkDirectory(directory, shards.length === 1 ? names : [...names, indexName])
  await checkSpace(join(directory, names[0]!), totalBytes)

  let writtenBytes = 0
  const count = (tensor: SizedTensor): void => {
    writtenBytes += tensor.sizeBytes
    options.onProgress?.(writtenBytes, totalBytes)
  }
  const staged: StagedFile[] = []
  try {
    for (const [i, shard] of shards.entries()) {
      const path = join(directory, names[i]!)
      const ordered = shard.toSorted(byTypeAndName)
      const header = headerOf(ordered, path)
      const sizeBytes = header.length + ordered.reduce((sum, tensor) => sum + tensor.sizeBytes, 0)
      staged.push(await stageFile(path, bytesOf(header, ordered, path, count, signal), { sizeBytes, signal }))
    }
    if (shards.length > 1) {
      const index = new TextEncoder().encode(indexOf(shards, names, totalBytes))
      staged.push(await stageFile(join(directory, indexName), [index], { sizeBytes: index.length, signal }))
      names.push(indexName)
    }
    for (const file of staged) await file.commit()
  } catch (error) {
    await Promise.all(staged.map((file) => file.discard()))
    throw error
  }
  return names
}

const indexName = 'model.safetensors.index.json'

function sizedOf(tensors: readonly TensorSource[]): SizedTensor[] {
  const names = new Set<string>(['__metadata__'])
  return tensors.map((tensor) => {
    const { name, type, shape } = tensor
    if (names.has(name)) throw new RangeError(`tensor ${quoted(name)} is given twice or has a reserved name`)
    names.add(name)
    const natural = shape.every((dimension) => Number.isSafeInteger(dimension) && dimension >= 0)
    const sizeBytes = natural && isSafetensorsType(type) ? sizeBytesOf(type, shape) : undefined
    if (sizeBytes === undefined) {
      throw new RangeError(`tensor ${quoted(name)} cannot be of type ${type} and shape [${shape.join(', ')}]`)
    }
    return { name, type, shape, sizeBytes, data: () => tensor.data() }
  })
}

function shardsOf(tensors: readonly SizedTensor[], maxShardBytes: number): SizedTensor[][] {
  let shard: SizedTensor[] = []
  let shardBytes = 0
  const shards = [shard]
  for (const tensor of tensors) {
    if (shard.length > 0 && shardBytes + tensor.sizeBytes > maxShardBytes) {
      shard = []
      shardBytes = 0
      shards.push(shard)
    }
    shard.push(tensor)
    shardBytes += tensor.sizeBytes
  }
  return shards
}

function shardName(index: number, count: number): string {
  if (count === 1) return 'model.safetensors'
  return `model-${String(index + 1).padStart(5, '0')}-of-${String(count).padStart(5, '0')}.safetensors`
}

/** Weights of another export beside ours could be loaded in their place: transformers looks for model.safetensors first. */
async function checkDirectory(directory: string, names: readonly string[]): Promise<void> {
  let found: string[]
  try {
    await makeFolder(directory)
    found = await readdir(directory)
  } catch (cause) {
    throw await outputFailure(directory, cause)
  }
  const other = found.find((name) => /\.safetensors(\.index\.json)?$/.test(name) && !names.includes(name))
  if (other !== undefined) {
    throw new OutputError(
      `${directory}: holds ${other} from another model, expected no weights beside ${names[0]}; name an empty folder`,
    )
  }
}

function byTypeAndName(a: SizedTensor, b: SizedTensor): number {
  return typeOrder.indexOf(a.type) - typeOrder.indexOf(b.type) || (a.name < b.name ? -1 : a.name > b.name ? 1 : 0)
}

/** Length and JSON, padded with spaces so that the data starts at a multiple of 8. */
function headerOf(tensors: readonly SizedTensor[], path: string): Uint8Array {
  let position = 0
  const entries = tensors.map(({ name, type, shape, sizeBytes }): [string, unknown] => {
    const begin = position
    position += sizeBytes
    return [name, { dtype: type, shape, data_offsets: [begin, position] }]
  })
  // not through an object: it would move names like "0" to the front
  const members = [['__metadata__', { format: 'pt' }] as const, ...entries].map(
    ([name, value]) => `${JSON.stringify(name)}:${JSON.stringify(value)}`,
  )
  const json = new TextEncoder().encode(`{${members.join(',')}}`)
  const paddedBytes = Math.ceil(json.length / 8) * 8
  if (paddedBytes > maxJsonBytes) {
    throw new OutputError(
      `${path}: header has ${paddedBytes} bytes for ${tensors.length} tensors, readers accept at most ${maxJsonBytes}; write smaller shards`,
    )
  }
  const header = new Uint8Array(8 + paddedBytes).fill(0x20)
  new DataView(header.buffer).setBigUint64(0, BigInt(paddedBytes), true)
  header.set(json, 8)
  return header
}

async function* bytesOf(
  header: Uint8Array,
  tensors: readonly SizedTensor[],
  path: string,
  count: (tensor: SizedTensor) => void,
  signal: StopSignal | undefined,
): AsyncGenerator<Uint8Array, void> {
  yield header
  for (const tensor of tensors) {
    signal?.throwIfAborted()
    const bytes = await tensor.data()
    if (bytes.length !== tensor.sizeBytes) {
      throw new OutputError(
        `${path}: tensor ${quoted(tensor.name)} came with ${bytes.length} bytes, expected ${tensor.sizeBytes} for ${tensor.type} [${tensor.shape.join(', ')}]; please report this as a bug`,
      )
    }
    yield bytes
    count(tensor)
  }
}

function indexOf(shards: readonly SizedTensor[][], names: readonly string[], totalBytes: number): string {
  const weightMap = shards.flatMap((shard, i) => shard.map(({ name }): [string, string] => [name, names[i]!]))
  weightMap.sort(([a], [b]) => (a < b ? -1 : 1))
  const index = { metadata: { total_size: totalBytes }, weight_map: Object.fromEntries(weightMap) }
  return `${JSON.stringify(index, undefined, 2)}\n`
}
