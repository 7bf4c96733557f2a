import type { Device, Handle } from '../device/device.ts'
import type { Program } from '../graph/program.ts'
import type { Batch, Chunk, Tensors } from '../measures/machine.ts'
import type { TokenRows } from '../types.ts'

/** Tokens that go through an operation together. Bounds the activations, not the result. */
const microBatchTokens = 1024

export interface ChunkOptions {
  /** Hidden width D. */
  readonly width: number
  /** Bytes that the states of a chunk after all stages may take. */
  readonly stateBytes: number
  /** A chunk for each micro-batch. */
  readonly oneBatch?: boolean | undefined
}

/** A chunk, and the bytes of its states after all stages together. */
export interface SizedChunk extends Chunk {
  readonly stateBytes: number
}

/** Cuts rows into chunks whose states fit the memory given, and each chunk into micro-batches. */
export function chunksOf(
  rows: TokenRows,
  program: Program,
  { width, stateBytes, oneBatch = false }: ChunkOptions,
): SizedChunk[] {
  const { rowLength, decoder } = rows
  const tokens = { ids: rowLength, decoderIds: decoder?.rowLength ?? 0 }
  const statesPerRow = program.stages.reduce((total, { ids }) => total + tokens[ids], rowLength)
  const batchRows = Math.max(1, Math.floor(microBatchTokens / Math.max(tokens.ids, tokens.decoderIds)))
  const batchBytes = batchRows * statesPerRow * width * 4
  // whole micro-batches: how rows are batched must not depend on memory, or losses would in their last digits
  const chunkRows = oneBatch ? batchRows : Math.max(1, Math.floor(stateBytes / batchBytes)) * batchRows
  const chunks: SizedChunk[] = []
  for (let start = 0; start < rows.rows; start += chunkRows) {
    const end = Math.min(start + chunkRows, rows.rows)
    const batches: Batch[] = []
    for (let first = start; first < end; first += batchRows) {
      batches.push({ first, rows: Math.min(batchRows, end - first) })
    }
    chunks.push({ start, batches, stateBytes: (end - start) * statesPerRow * width * 4 })
  }
  return chunks
}

/** What the graphs read of a micro-batch: `ids` (B,T) int64, and what an encoder or a decoder behind one reads besides. */
export function dataOf(device: Device, rows: TokenRows, batch: Batch, readsPadding: boolean): Tensors {
  return {
    ids: idsOf(device, rows, batch),
    ...(rows.decoder && { decoderIds: idsOf(device, rows.decoder, batch) }),
    ...(readsPadding && paddingOf(device, rows, batch)),
  }
}

/** Which tokens are padding, as the fused kernel reads it, (B,T) int32, and as a bias of scores, (B,1,1,T). */
function paddingOf(device: Device, { lengths, rowLength }: TokenRows, { first, rows: count }: Batch): Tensors {
  const tokens = new Int32Array(count * rowLength)
  const bias = new Float32Array(count * rowLength)
  for (let row = 0; row < count; row++) {
    const length = lengths?.[first + row] ?? rowLength
    tokens.fill(1, row * rowLength, row * rowLength + length)
    bias.fill(-1e30, row * rowLength + length, (row + 1) * rowLength)
  }
  return {
    padding: device.upload('int32', tokens, [count, rowLength]),
    paddingBias: device.upload('float32', bias, [count, 1, 1, rowLength]),
  }
}

function idsOf(device: Device, { ids, rowLength }: TokenRows, { first, rows: count }: Batch): Handle {
  const values = BigInt64Array.from(ids.subarray(first * rowLength, (first + count) * rowLength), BigInt)
  return device.upload('int64', values, [count, rowLength])
}
