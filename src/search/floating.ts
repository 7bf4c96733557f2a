import type { Model } from '../model/model.ts'
import { removedParameters } from '../model/plan.ts'
import type { BlockId, PruningPlan, RowObjective, StopSignal } from '../types.ts'
import { type Moves, withoutBlocks, withoutRestored } from './candidates.ts'
import { quarterOf } from './race.ts'

/** A plan with the values of all its rows. */
export interface Measured {
  readonly plan: PruningPlan
  readonly values: Float64Array
  readonly loss: number
}

/** What came back and what went for it. */
export interface Floated extends Measured {
  readonly removed: readonly BlockId[]
  readonly restored: readonly BlockId[]
}

export interface FloatingOptions {
  readonly moves: Moves
  /** By how much the loss rises, as far as is known, when blocks go besides those of the plan. */
  readonly increase: (blocks: readonly BlockId[]) => number
  /** What just went, which is not to come back at once. */
  readonly latest: readonly BlockId[]
  readonly signal?: StopSignal | undefined
}

/** Exchanges that are measured on all rows. */
const heat = 2

/**
 * The floating step of a greedy search (sequential floating selection, Pudil, Novovičová and Kittler 1994): what was removed from S
 * earlier, as an attention, comes back for another block, as an mlp, when
 *
 *     L(M without S − a + b) < L(M without S)  and  S − a + b removes no fewer parameters than S.
 *
 * The two exchanges that promise most, by L(S − a) − L(S) on a quarter of the rows and by what the search knows of b, are measured on
 * all rows; undefined where neither is better. Asks for nothing that the search did not know or the objective does not give, so that
 * a run can be resumed.
 */
export async function floatingStep(
  model: Model,
  objective: RowObjective,
  { plan, values, loss }: Measured,
  { moves: { removals, restorations }, increase, latest, signal }: FloatingOptions,
): Promise<Floated | undefined> {
  const back = restorations(plan).filter((blocks) => !blocks.some((id) => latest.includes(id)))
  if (back.length === 0) return undefined
  const range = quarterOf(objective)
  const plans = back.map((blocks) => withoutRestored(plan, blocks))
  const measured = await objective.evaluateRows(plans, { range, prefix: plan, signal })
  const own = objective.combine(values.subarray(...range), range[0])
  const least = removedParameters(model, plan)
  const exchanges = back.flatMap((restored, i) => {
    const gain = objective.combine(measured[i]!, range[0]) - own
    return removals(plans[i]!)
      .filter((blocks) => `${blocks}` !== `${restored}`)
      .map((removed) => ({
        removed,
        restored,
        plan: withoutBlocks(plans[i]!, removed),
        change: gain + increase(removed),
      }))
      .filter((exchange) => exchange.change < 0 && removedParameters(model, exchange.plan) >= least)
  })
  const tried = exchanges.toSorted((a, b) => a.change - b.change).slice(0, heat)
  if (tried.length === 0) return undefined
  const all = await objective.evaluateRows(
    tried.map((exchange) => exchange.plan),
    { prefix: plan, signal },
  )
  const [best] = tried
    .map(({ removed, restored, plan: next }, i) => {
      return { plan: next, removed, restored, values: all[i]!, loss: objective.combine(all[i]!) }
    })
    .filter((found) => found.loss < loss)
    .sort((a, b) => a.loss - b.loss)
  return best
}
