import { readdir } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { z } from 'zod'
import { CheckpointError, ToolkitError } from '../../errors.ts'
import { bfloat16ToFloat32, float16ToFloat32 } from '../../tensor/half.ts'
import type { TensorInfo, WeightStore } from '../../types.ts'
import { type CheckpointFile, openCheckpointFile } from '../checkpointFile.ts'
import { bytesPerElement, isSafetensorsType } from './dtypes.ts'
import { type HeaderEntry, readHeader } from './header.ts'
import { firstIssue, maxJsonBytes, parseUntrustedObject, quoted, stringsByName } from './json.ts'

/** The largest published checkpoints have some 200 shards, and every shard stays open. */
const maxShards = 1000

const indexSchema = z.object({ weight_map: stringsByName })

type StoredEntry = HeaderEntry & { readonly file: CheckpointFile }

/** Stored halves → float32 values. The bytes are little-endian, as the format says and as every platform of Node but s390x is. */
const widen: Readonly<Record<string, (bits: Uint16Array, into: Float32Array<ArrayBuffer>) => void>> = {
  F16: float16ToFloat32,
  BF16: bfloat16ToFloat32,
}

/** What `read` reads. */
const weightTypes = ['F32', ...Object.keys(widen)]

/** Bytes widened at a time, so that a large tensor is not held twice. */
const chunkBytes = 2 ** 22

/**
 * Opens a `.safetensors` file, or all shards of a `.safetensors.index.json`, reading headers only. `read` widens F32,
 * F16 and BF16, exactly. `tensors` leaves out those of a type that `StoredType` does not have (F8_E4M3, U32 …): asking
 * for one says so. Throws `CheckpointError`, also when a file is not what its header or its index says.
 */
export async function openSafetensors(path: string): Promise<WeightStore> {
  return path.endsWith('.json') ? openShards(path) : storeOf(await openAll([path]))
}

async function openShards(indexPath: string): Promise<WeightStore> {
  const subject = `${indexPath}: index`
  const result = indexSchema.safeParse(Object.fromEntries(await readIndex(indexPath, subject)))
  if (!result.success) {
    throw new CheckpointError(`${subject}: ${firstIssue(result.error)}; is this the index of a checkpoint?`)
  }
  const weightMap = Object.entries(result.data.weight_map)
  const names = [...new Set(weightMap.map(([, shard]) => shard))].sort()
  if (names.length === 0 || names.length > maxShards) {
    throw new CheckpointError(`${subject} names ${names.length} shards, expected 1 to ${maxShards}; write it again`)
  }
  for (const name of names) {
    if (!isFileName(name)) {
      throw new CheckpointError(
        `${subject} names the shard ${quoted(name)}, expected the name of a .safetensors file in the same folder; do not use this checkpoint unless you know who made it`,
      )
    }
  }
  const folder = dirname(indexPath)
  const present = await readdir(folder)
  const [absent, ...others] = names.filter((name) => !present.includes(name))
  if (absent !== undefined) {
    const more = others.length > 0 ? ` and ${others.length} more` : ''
    throw new CheckpointError(
      `${subject} names ${names.length} shards, of which ${absent}${more} is not in the folder; is the download complete?`,
    )
  }
  const store = await openAll(names.map((name) => join(folder, name)))
  for (const [tensor, shard] of weightMap) {
    const found = store.entries.get(tensor)
    if (found !== undefined && basename(found.file.path) === shard) continue
    await closeAll(store.files)
    throw new CheckpointError(
      `${subject} promises tensor ${quoted(tensor)} in ${shard}, found ${found === undefined ? 'in no shard' : `in ${basename(found.file.path)}`}; download index and shards again, from the same revision`,
    )
  }
  return storeOf(store)
}

async function readIndex(indexPath: string, subject: string): Promise<ReadonlyMap<string, unknown>> {
  const file = await openCheckpointFile(indexPath)
  try {
    if (file.size > maxJsonBytes) {
      throw new CheckpointError(
        `${subject} has ${file.size} bytes, expected at most ${maxJsonBytes}; is this the index of a checkpoint?`,
      )
    }
    const text = await file.read(0, file.size)
    const start = text.findIndex((byte) => byte > 0x20)
    return parseUntrustedObject(text.subarray(Math.max(start, 0)), subject)
  } finally {
    await file.close()
  }
}

/** A link from the folder elsewhere is the owner's (the hub cache is made of them); a path in the index is a stranger's. */
function isFileName(name: string): boolean {
  // quoting marks control characters, backslashes and names too long
  return name.endsWith('.safetensors') && quoted(name) === `"${name}"` && !/[/:]/.test(name) && !name.startsWith('.')
}

interface OpenFiles {
  readonly files: readonly CheckpointFile[]
  readonly entries: ReadonlyMap<string, StoredEntry>
}

async function openAll(paths: readonly string[]): Promise<OpenFiles> {
  const files: CheckpointFile[] = []
  const entries = new Map<string, StoredEntry>()
  try {
    for (const path of paths) {
      const file = await openCheckpointFile(path)
      files.push(file)
      for (const entry of await readHeader(file)) {
        const other = entries.get(entry.name)
        if (other !== undefined) {
          throw new CheckpointError(
            `${path}: tensor ${quoted(entry.name)} is also in ${basename(other.file.path)}, expected it in one shard; download the shards again, from the same revision`,
          )
        }
        entries.set(entry.name, { ...entry, file })
      }
    }
  } catch (error) {
    await closeAll(files)
    throw error
  }
  return { files, entries }
}

async function closeAll(files: readonly CheckpointFile[]): Promise<void> {
  await Promise.all(files.map((file) => file.close()))
}

function storeOf({ files, entries }: OpenFiles): WeightStore {
  const tensors = new Map<string, TensorInfo>()
  for (const { name, type, shape } of entries.values()) {
    if (isSafetensorsType(type)) tensors.set(name, { name, type, shape })
  }
  const unsupported = [...entries.values()].filter(({ type }) => !weightTypes.includes(type))
  const origin = files.map((file) => basename(file.path)).join(', ')

  function entryOf(name: string): StoredEntry {
    const entry = entries.get(name)
    if (entry !== undefined) return entry
    throw new CheckpointError(
      `${origin}: has no tensor ${quoted(name)} among its ${entries.size}; is config.json from another model?`,
    )
  }

  function wrongType(entry: StoredEntry, expected: string): CheckpointError {
    return new CheckpointError(
      `${entry.file.path}: tensor ${quoted(entry.name)} is stored as ${quoted(entry.type)}, expected ${expected}; convert the checkpoint to bfloat16 or use its unquantised original`,
    )
  }

  return {
    tensors,
    unsupported: new Map(unsupported.map(({ name, type }) => [name, type])),
    files: files.map((file) => file.path),
    async read(name, into) {
      const entry = entryOf(name)
      if (!weightTypes.includes(entry.type)) throw wrongType(entry, `${weightTypes.join(', ')} for a weight`)
      return readFloats(entry, into)
    },
    async readBytes(name) {
      const entry = entryOf(name)
      if (!isSafetensorsType(entry.type)) throw wrongType(entry, `one of ${Object.keys(bytesPerElement).join(', ')}`)
      return bytesOf(entry)
    },
    close: () => closeAll(files),
  }
}

async function readFloats(entry: StoredEntry, into: Float32Array<ArrayBuffer> | undefined) {
  const { file, position, sizeBytes, type, shape } = entry
  const elements = shape.reduce((product, size) => product * size, 1)
  if (into !== undefined && into.length !== elements) throw new RangeError(`${elements} elements into ${into.length}`)
  return named(entry, async () => {
    const values = into ?? new Float32Array(elements)
    const convert = widen[type]
    if (convert === undefined) {
      await file.readInto(new Uint8Array(values.buffer, values.byteOffset, sizeBytes), position)
      return values
    }
    const chunk = new Uint8Array(Math.min(chunkBytes, sizeBytes))
    for (let done = 0; done < sizeBytes; done += chunkBytes) {
      const bytes = chunk.subarray(0, Math.min(chunkBytes, sizeBytes - done))
      await file.readInto(bytes, position + done)
      const bits = new Uint16Array(bytes.buffer, 0, bytes.length / 2)
      convert(bits, values.subarray(done / 2, done / 2 + bits.length))
    }
    return values
  })
}

function bytesOf(entry: StoredEntry): Promise<Uint8Array<ArrayBuffer>> {
  return named(entry, () => entry.file.read(entry.position, entry.sizeBytes))
}

/** What `read` reads, or an error that names the tensor. */
async function named<Read>(entry: StoredEntry, read: () => Promise<Read>): Promise<Read> {
  try {
    return await read()
  } catch (cause) {
    if (cause instanceof ToolkitError) throw cause
    throw new CheckpointError(
      `${entry.file.path}: the ${entry.sizeBytes} bytes of tensor ${quoted(entry.name)} cannot be read (${(cause as Error).message}); is the store still open, the disk healthy, the memory large enough?`,
      { cause },
    )
  }
}
