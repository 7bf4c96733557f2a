import type { BlockId, TokenRows } from '../types.ts'
import { type Batch, type Measure, rowsOfStage } from './machine.ts'

/** Of each channel that enters the output matrix W of a branch (`oProj`, `downProj`), in float64. */
export interface ChannelStatistics {
  /** Mean of the activation over tokens. */
  readonly mean: Float64Array
  /** Mean of its square over tokens. */
  readonly meanSquare: Float64Array
  /** Mean over outputs of |W|. */
  readonly absoluteWeight: Float64Array
  /** Σ over outputs of W². */
  readonly squaredWeight: Float64Array
}

export interface ChannelStatisticsOptions {
  /** Blocks that every plan keeps whole. */
  readonly blocks: readonly BlockId[]
}

/** What the channels of `blocks` do on the rows: for each plan one entry a block, from one forward pass. */
export const channelStatistics: Measure<ChannelStatisticsOptions, ChannelStatistics[]> = {
  async measure(machine, { rows, plans, options, signal }) {
    const sums = plans.map(() => new Map<BlockId, ChannelSums>())
    const wanted = new Set<string>(options.blocks)
    await machine.walk(
      { rows, plans, signal, fewStates: true },
      {
        async before({ stage, plans: walking, chunk }, channels) {
          const { block } = stage
          if (block === undefined || !wanted.has(block.id)) return
          for (const [i, batch] of chunk.batches.entries()) {
            const values = await channels(i)
            const read = rowsOfStage(stage, rows)
            for (const plan of walking) addActivations(sums[plan]!, block.id, read, batch, values)
          }
        },
      },
    )
    const blocks = new Map(machine.model.blocks.map((block) => [block.id, block]))
    return Promise.all(
      sums.map((ofPlan) =>
        Promise.all(
          options.blocks.map(async (id) => {
            const [block, known] = [blocks.get(id), ofPlan.get(id)]
            if (block === undefined || known === undefined) {
              throw new RangeError(`${id} is no block of ${machine.model.id} that the plan keeps`)
            }
            const { values, inputFirst } = await machine.outputMatrix(block)
            return statisticsOf(known, values, inputFirst)
          }),
        ),
      ),
    )
  },
}

/** Sums over tokens of the channels that enter a branch's output matrix, in float64. */
interface ChannelSums {
  tokens: number
  readonly sum: Float64Array
  readonly squares: Float64Array
}

/** Adds the tokens of a micro-batch that are not padding; `activations` (B,T,C). */
function addActivations(
  sums: Map<BlockId, ChannelSums>,
  block: BlockId,
  { lengths, rowLength }: TokenRows,
  batch: Batch,
  activations: Float32Array,
): void {
  const channels = activations.length / (batch.rows * rowLength)
  const known = sums.get(block) ?? { tokens: 0, sum: new Float64Array(channels), squares: new Float64Array(channels) }
  sums.set(block, known)
  for (let row = 0; row < batch.rows; row++) {
    const tokens = lengths?.[batch.first + row] ?? rowLength
    for (let t = 0; t < tokens; t++) {
      const start = (row * rowLength + t) * channels
      for (let c = 0; c < channels; c++) {
        const x = activations[start + c]!
        known.sum[c]! += x
        known.squares[c]! += x * x
      }
    }
    known.tokens += tokens
  }
}

/** The statistics of one block: its sums, and its output matrix (D,C), or (C,D) where `inputFirst`. */
function statisticsOf(
  { tokens, sum, squares }: ChannelSums,
  matrix: Float32Array,
  inputFirst: boolean,
): ChannelStatistics {
  const channels = sum.length
  const outputs = matrix.length / channels
  const [absolute, squared] = [new Float64Array(channels), new Float64Array(channels)]
  for (let c = 0; c < channels; c++) {
    for (let d = 0; d < outputs; d++) {
      const w = matrix[inputFirst ? c * outputs + d : d * channels + c]!
      absolute[c]! += Math.abs(w)
      squared[c]! += w * w
    }
  }
  return {
    mean: sum.map((value) => value / tokens),
    meanSquare: squares.map((value) => value / tokens),
    absoluteWeight: absolute.map((value) => value / outputs),
    squaredWeight: squared,
  }
}
