import { PlanError } from '../errors.ts'
import type { Engine } from '../measures/measurement.ts'
import type { Model } from '../model/model.ts'
import { emptyPlan } from '../model/plan.ts'
import type { BlockId, Objective, PruningPlan, TokenRows } from '../types.ts'
import { compensated, withEmptyBiases } from './compensation.ts'
import { type Granularity, type MaskUnit, maskedBlocks, maskUnits, planOfMask } from './maskUnits.ts'
import { defineMethod, type LoopOptions, type Steps } from './method.ts'
import { finite } from './removeInOrder.ts'
import { statisticsByBlock, sumOfUnit } from './wandaScores.ts'

const masked: readonly Granularity[] = ['channels', 'heads']

export const method = defineMethod({
  name: 'flap',
  role: 'method',
  title: 'FLAP',
  paper: 'arXiv:2312.11983',
  unit: 'channel, head group',
  cost: '1 pass, one shot',
  options: {
    bias: {
      type: 'flag',
      default: true,
      says: 'add nothing to the output of a block for the units that it lost',
    },
  },
  masks: () => masked,
  removable: (scope) => maskedBlocks('flap', masked, scope),
  endsItself: true,
  run: ({ model, objective, engine, rows, ...context }, options) =>
    flap(model, objective, engine, rows, { ...context, ...options }),
})

export interface FlapOptions extends LoopOptions {
  /** What may go: channels and head groups; default both. */
  readonly granularities?: readonly Granularity[] | undefined
  /** Add what the removed units gave on average to the output of their blocks; default true. */
  readonly bias?: boolean | undefined
  /** Whether a plan removes enough. */
  readonly isReached: (plan: PruningPlan) => boolean
}

/**
 * FLAP (arXiv:2312.11983; code CASIA-IVA-Lab/FLAP): what hardly varies goes, as its mean could stand in for it.
 *
 *     WIFV   score_c = Var(x_c) · ‖W_:c‖²,  x_c what enters column c of a branch's output matrix W; of a head group the mean of its c
 *
 * standardised within each block, (score - mean) / deviation, then one threshold over all blocks; the output of a block gets the
 * bias W_:removed · mean(x_removed) for what it lost, unless that is switched off. Here the variance is that of all tokens around
 * their mean, which the released code means to compute, and the score of attention is not squared. One forward pass, one step.
 */
export async function* flap(
  model: Model,
  objective: Objective,
  engine: Engine,
  rows: TokenRows,
  { granularities = masked, bias = true, isReached, ...options }: FlapOptions,
): Steps {
  const { start = emptyPlan, signal } = options
  const units = maskUnits(model, granularities, options)
  const statistics = await statisticsByBlock(model, units, engine, rows, signal)
  const scores = units.map(({ blocks, index }) => {
    const own = statistics.get(blocks[0]!)!
    const { mean, meanSquare, squaredWeight } = own.statistics
    const fluctuation = (c: number) => Math.max(0, meanSquare[c]! - mean[c]! ** 2) * squaredWeight[c]!
    return sumOfUnit(own, index!, fluctuation) / own.channelsPerUnit
  })
  const standard = standardised(units, scores)
  const order = [...units.keys()].sort((a, b) => standard[a]! - standard[b]! || a - b)
  const enough = (plan: PruningPlan) => isReached(bias ? withEmptyBiases(model, plan) : plan)
  const bare = smallestPlan(model, units, order, enough, start)
  const plan = bias ? await compensated(model, bare, statistics) : bare
  const [loss = Number.NaN] = await objective.evaluate([plan], signal)
  yield { plan, removed: plan.blocks, loss: finite(loss, plan.blocks) }
}

/** (score - mean) / deviation within each block; 0 where all are equal. */
function standardised(units: readonly MaskUnit[], scores: readonly number[]): Float64Array {
  const byBlock = new Map<BlockId, number[]>()
  for (const [i, { blocks }] of units.entries()) {
    const known = byBlock.get(blocks[0]!)
    if (known === undefined) byBlock.set(blocks[0]!, [i])
    else known.push(i)
  }
  const standard = new Float64Array(units.length)
  for (const indices of byBlock.values()) {
    const mean = indices.reduce((total, i) => total + scores[i]!, 0) / indices.length
    const variance = indices.reduce((total, i) => total + (scores[i]! - mean) ** 2, 0) / indices.length
    for (const i of indices) standard[i] = variance > 0 ? (scores[i]! - mean) / Math.sqrt(variance) : 0
  }
  return standard
}

/** The plan without the fewest units of `order` that reaches the budget. Throws `PlanError` when none that leaves anything does. */
function smallestPlan(
  model: Model,
  units: readonly MaskUnit[],
  order: readonly number[],
  isReached: (plan: PruningPlan) => boolean,
  start: PruningPlan,
): PruningPlan {
  const planWithout = (count: number) => {
    const kept = new Uint8Array(units.length).fill(1)
    for (const i of order.slice(0, count)) kept[i] = 0
    return planOfMask(model, units, kept, start)
  }
  let [low, high] = [0, units.length]
  while (high - low > 1) {
    const middle = (low + high) >> 1
    if (isReached(planWithout(middle))) high = middle
    else low = middle
  }
  if (high < units.length) return planWithout(high)
  throw new PlanError(
    `${model.id}: removing all but one of its ${units.length} units does not reach the budget; ask for a smaller share of the parameters`,
  )
}
