import { z } from 'zod'
import { CheckpointError } from '../../errors.ts'
import type { CheckpointFile } from '../checkpointFile.ts'
import { isSafetensorsType, sizeBytesOf } from './dtypes.ts'
import { firstIssue, maxJsonBytes, parseUntrustedObject, quoted, stringsByName } from './json.ts'

/** One tensor of a safetensors file as its header describes it. */
export interface HeaderEntry {
  readonly name: string
  /** As the file says; not always a type the toolkit knows. */
  readonly type: string
  readonly shape: readonly number[]
  /** First byte, counted from the start of the file. */
  readonly position: number
  readonly sizeBytes: number
}

/** Dimensions of one tensor; published weights have at most 5. */
const maxRank = 16

const naturalNumber = z.int().nonnegative()

const entrySchema = z.object({
  dtype: z.string(),
  // the length is checked first, so that a list of millions gives one issue
  shape: z.array(z.unknown()).max(maxRank).pipe(z.array(naturalNumber)),
  data_offsets: z.tuple([naturalNumber, naturalNumber]),
})

/**
 * Reads the header of a safetensors file: 8 bytes little-endian length, JSON, then the data, which the tensors cover
 * without gap or overlap. Returns the tensors in the order of their bytes.
 * Source: https://github.com/huggingface/safetensors#format. Throws `CheckpointError` for whatever is otherwise.
 */
export async function readHeader(file: CheckpointFile): Promise<HeaderEntry[]> {
  if (file.size < 8) {
    throw new CheckpointError(
      `${file.path}: has ${file.size} bytes, expected at least the 8 of a safetensors header; is the download complete?`,
    )
  }
  const prefix = await file.read(0, 8)
  const length = new DataView(prefix.buffer).getBigUint64(0, true)
  if (length > BigInt(maxJsonBytes)) {
    throw new CheckpointError(
      `${file.path}: header length is ${length} bytes, expected at most ${maxJsonBytes}; is this a safetensors file?`,
    )
  }
  const headerBytes = Number(length)
  const dataStart = 8 + headerBytes
  if (dataStart > file.size) {
    throw new CheckpointError(
      `${file.path}: header of ${headerBytes} bytes goes beyond the file of ${file.size}; is the download complete?`,
    )
  }
  const header = parseUntrustedObject(await file.read(8, headerBytes), `${file.path}: header`)
  const entries: HeaderEntry[] = []
  for (const [name, value] of header) {
    if (name === '__metadata__') checkMetadata(value, file.path)
    else entries.push(entryOf(name, value, dataStart, file))
  }
  entries.sort((a, b) => a.position - b.position || a.sizeBytes - b.sizeBytes)
  checkCoverage(entries, dataStart, file)
  return entries
}

function checkMetadata(value: unknown, path: string): void {
  const result = stringsByName.safeParse(value)
  if (!result.success) {
    throw new CheckpointError(`${path}: __metadata__: ${firstIssue(result.error)}; write the file again`)
  }
}

function entryOf(name: string, value: unknown, dataStart: number, file: CheckpointFile): HeaderEntry {
  const subject = `${file.path}: tensor ${quoted(name)}`
  const result = entrySchema.safeParse(value)
  if (!result.success) {
    throw new CheckpointError(`${subject}: ${firstIssue(result.error)}; the header is damaged, download the file again`)
  }
  const { dtype, shape } = result.data
  const [begin, end] = result.data.data_offsets
  if (end < begin) {
    throw new CheckpointError(
      `${subject} has data_offsets [${begin}, ${end}], expected begin ≤ end; the header is damaged, download the file again`,
    )
  }
  if (end > file.size - dataStart) {
    throw new CheckpointError(
      `${subject} ends at data byte ${end}, but the file has ${file.size - dataStart}; is the download complete?`,
    )
  }
  // the size of a type we do not know cannot be checked: such a tensor is listed, never read
  if (isSafetensorsType(dtype)) {
    const expected = sizeBytesOf(dtype, shape)
    if (expected !== end - begin) {
      throw new CheckpointError(
        `${subject} has ${end - begin} bytes, expected ${expected ?? 'more than any file has'} for ${dtype} [${shape.join(', ')}]; the header is damaged, download the file again`,
      )
    }
  }
  return { name, type: dtype, shape, position: dataStart + begin, sizeBytes: end - begin }
}

/** The format leaves no byte of the data without a tensor and gives none to two. */
function checkCoverage(entries: readonly HeaderEntry[], dataStart: number, file: CheckpointFile): void {
  let covered = dataStart
  for (const entry of entries) {
    if (entry.position !== covered) {
      const problem = entry.position < covered ? 'overlaps the tensor before it' : 'leaves a gap before it'
      throw new CheckpointError(
        `${file.path}: tensor ${quoted(entry.name)} starts at data byte ${entry.position - dataStart} and ${problem}, expected ${covered - dataStart}; the header is damaged, download the file again`,
      )
    }
    covered += entry.sizeBytes
  }
  if (covered !== file.size) {
    throw new CheckpointError(
      `${file.path}: the tensors end at byte ${covered}, the file at ${file.size}, expected both to be equal; the file is damaged, download it again`,
    )
  }
}
