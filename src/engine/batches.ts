import * as ort from 'onnxruntime-node'
import type { Program } from '../graph/program.ts'
import type { TokenRows } from '../types.ts'

/** Named tensors of one micro-batch: its data, and the states that the stages so far wrote. */
export type Tensors = Readonly<Record<string, ort.Tensor>>

/** Rows that go through an operation together. */
export interface Batch {
  readonly first: number
  readonly rows: number
  /** `ids` (B,T) int64, and what an encoder or a decoder behind one reads besides. */
  readonly data: Tensors
}

/** Rows whose states are remembered together. */
export interface Chunk {
  readonly start: number
  readonly batches: readonly Batch[]
  /** Of the states after all stages together. */
  readonly stateBytes: number
}

/** Tokens that go through an operation together. Bounds the activations, not the result. */
const microBatchTokens = 1024

/** Bytes of hidden states remembered between plans; calibration beyond that goes through in several chunks of rows. */
export const trunkBytes = 4 * 2 ** 30

/** Cuts rows into chunks whose states of width `width` fit the memory budget, and each chunk into micro-batches. */
export function chunksOf(rows: TokenRows, program: Program, width: number): Chunk[] {
  const { rowLength, decoder } = rows
  const tokens = { ids: rowLength, decoderIds: decoder?.rowLength ?? 0 }
  const statesPerRow = program.stages.reduce((total, { ids }) => total + tokens[ids], rowLength)
  const chunkRows = Math.max(1, Math.floor(trunkBytes / (statesPerRow * width * 4)))
  const batchRows = Math.max(1, Math.floor(microBatchTokens / Math.max(tokens.ids, tokens.decoderIds)))
  const chunks: Chunk[] = []
  for (let start = 0; start < rows.rows; start += chunkRows) {
    const end = Math.min(start + chunkRows, rows.rows)
    const batches: Batch[] = []
    for (let first = start; first < end; first += batchRows) {
      const count = Math.min(batchRows, end - first)
      batches.push({ first, rows: count, data: dataOf(rows, first, count, program.readsPadding) })
    }
    chunks.push({ start, batches, stateBytes: (end - start) * statesPerRow * width * 4 })
  }
  return chunks
}

function dataOf(rows: TokenRows, first: number, count: number, readsPadding: boolean): Tensors {
  return {
    ids: idsOf(rows, first, count),
    ...(rows.decoder && { decoderIds: idsOf(rows.decoder, first, count) }),
    ...(readsPadding && paddingOf(rows, first, count)),
  }
}

/** Which tokens are padding, as the fused kernel reads it, (B,T) int32, and as a bias of scores, (B,1,1,T). */
function paddingOf({ lengths, rowLength }: TokenRows, first: number, count: number): Tensors {
  const tokens = new Int32Array(count * rowLength)
  const bias = new Float32Array(count * rowLength)
  for (let row = 0; row < count; row++) {
    const length = lengths?.[first + row] ?? rowLength
    tokens.fill(1, row * rowLength, row * rowLength + length)
    bias.fill(-1e30, row * rowLength + length, (row + 1) * rowLength)
  }
  return {
    padding: new ort.Tensor('int32', tokens, [count, rowLength]),
    paddingBias: new ort.Tensor('float32', bias, [count, 1, 1, rowLength]),
  }
}

function idsOf({ ids, rowLength }: TokenRows, first: number, count: number): ort.Tensor {
  const values = BigInt64Array.from(ids.subarray(first * rowLength, (first + count) * rowLength), BigInt)
  return new ort.Tensor('int64', values, [count, rowLength])
}
