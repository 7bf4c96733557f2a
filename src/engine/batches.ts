import type { Device, Handle } from '../device/device.ts'
import type { Program } from '../graph/program.ts'
import type { Batch, Chunk, Tensors } from '../measures/machine.ts'
import type { TokenRows } from '../types.ts'
import { microBatchTokens } from './memory.ts'

/** The states of a micro-batch of `rows`, in bytes. */
export interface BatchSizes {
  readonly batchRows: number
  /** After all stages together: what is remembered of a model. */
  readonly remembered: number
  /** Alive at once on the way of one plan. */
  readonly alive: number
}

/** How large the micro-batches of `rows` are. Nothing but the rows decides it: losses would depend on it in their last digits. */
export function batchSizesOf(rows: TokenRows, program: Program, width: number): BatchSizes {
  const { rowLength, decoder } = rows
  const tokens = { ids: rowLength, decoderIds: decoder?.rowLength ?? 0 }
  const batchRows = Math.max(1, Math.floor(microBatchTokens / Math.max(tokens.ids, tokens.decoderIds)))
  const remembered = program.stages.reduce((total, { ids }) => total + tokens[ids], rowLength)
  const names = new Set(program.stages.map(({ writes, ids }) => `${writes} ${ids}`))
  const alive = [...names].reduce(
    (total, name) => total + tokens[name.endsWith('decoderIds') ? 'decoderIds' : 'ids'],
    0,
  )
  const bytes = batchRows * width * 4
  return { batchRows, remembered: remembered * bytes, alive: alive * bytes }
}

/** Cuts rows into chunks of so many micro-batches. */
export function chunksOf({ rows }: TokenRows, batchRows: number, batchesPerChunk: number): Chunk[] {
  const chunkRows = batchRows * batchesPerChunk
  const chunks: Chunk[] = []
  for (let start = 0; start < rows; start += chunkRows) {
    const end = Math.min(start + chunkRows, rows)
    const batches: Batch[] = []
    for (let first = start; first < end; first += batchRows) {
      batches.push({ first, rows: Math.min(batchRows, end - first) })
    }
    chunks.push({ start, batches })
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
