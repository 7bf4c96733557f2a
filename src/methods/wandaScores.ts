import { PlanError } from '../errors.ts'
import type { ChannelStatistics } from '../measures/channelStatistics.ts'
import { type Engine, measureOn } from '../measures/measurement.ts'
import type { Model } from '../model/model.ts'
import { emptyPlan } from '../model/plan.ts'
import type { Block, BlockId, StopSignal, TokenRows } from '../types.ts'
import type { MaskUnit } from './maskUnits.ts'

/**
 * Wanda-sp's metric of head groups and channels, as in the code of arXiv:2406.10576: with x_c what enters column c of the output
 * matrix W of a branch,
 *
 *     metric_c = mean over rows r of |W_rc| · ‖x_c‖₂ / √tokens,  of a head group the mean over its heads of the sum over a head
 *
 * up to a factor that all groups share. NaN for units that are whole blocks.
 */
export async function wandaScores(
  model: Model,
  units: readonly MaskUnit[],
  engine: Engine,
  rows: TokenRows,
  signal?: StopSignal,
): Promise<Float64Array> {
  const statistics = await statisticsByBlock(model, units, engine, rows, signal)
  return Float64Array.from(units, ({ blocks: [id], index }) => {
    const own = statistics.get(id!)
    if (index === undefined || own === undefined) return Number.NaN
    return sumOfUnit(own, index, (c) => own.statistics.absoluteWeight[c]! * Math.sqrt(own.statistics.meanSquare[c]!))
  })
}

/** The statistics of a block and the channels of each of its units. */
export interface BlockStatistics {
  readonly block: Block
  readonly statistics: ChannelStatistics
  readonly channelsPerUnit: number
}

/** Statistics of every block that loses units rather than going as a whole. */
export async function statisticsByBlock(
  model: Model,
  units: readonly MaskUnit[],
  engine: Engine,
  rows: TokenRows,
  signal?: StopSignal,
): Promise<Map<BlockId, BlockStatistics>> {
  const ids = [...new Set(units.flatMap(({ blocks, index }) => (index === undefined ? [] : blocks)))]
  const measure = { name: 'channelStatistics', blocks: ids } as const
  const [found] = ids.length === 0 ? [[]] : await measureOn(engine, rows, { plans: [emptyPlan], measure }, { signal })
  const blocks = new Map(model.blocks.map((block) => [block.id, block]))
  return new Map(
    ids.map((id, i) => {
      const [block, statistics] = [blocks.get(id)!, found![i]!]
      const channelsPerUnit = statistics.mean.length / block.units
      if (!Number.isInteger(channelsPerUnit)) {
        throw new PlanError(
          `${id}: has ${statistics.mean.length} channels, expected a multiple of its ${block.units} units`,
        )
      }
      return [id, { block, statistics, channelsPerUnit }]
    }),
  )
}

/** Σ of `of` over the channels of unit `index`. */
export function sumOfUnit(
  { channelsPerUnit }: BlockStatistics,
  index: number,
  of: (channel: number) => number,
): number {
  let sum = 0
  for (let c = index * channelsPerUnit; c < (index + 1) * channelsPerUnit; c++) sum += of(c)
  return sum
}
