import { EngineError } from '../errors.ts'
import { lowest } from '../methods/greedy.ts'
import { defineMethod, type LoopOptions, type Scale, type Steps } from '../methods/method.ts'
import { named } from '../methods/removeInOrder.ts'
import { singleRemovable } from '../methods/units.ts'
import type { Model } from '../model/model.ts'
import { emptyPlan } from '../model/plan.ts'
import type { BlockId, RowObjective, Score } from '../types.ts'
import { type Candidates, type Moves, movesFor, withoutBlocks } from './candidates.ts'
import { floatingStep } from './floating.ts'
import { Increases } from './increases.ts'
import { quarters } from './race.ts'

export const search = defineMethod({
  name: 'fast',
  role: 'search',
  title: 'Fast greedy',
  unit: 'block',
  cost: 'about a tenth of exact',
  options: {
    floating: {
      type: 'flag',
      default: false,
      says: 'after a step, let an earlier block come back for another when that is better and leaves no more',
    },
  },
  // what may come back on a quarter of the rows, all of it in half a pass each, and two exchanges
  passes: (scale, { floating }) => fastPasses(scale) + (floating ? scale.steps ** 2 / 16 + scale.steps : 0),
  removable: singleRemovable,
  run: ({ model, objective, moves, ...context }, { floating }) =>
    fast(model, objective, { ...context, candidates: moves.removals, ...(floating && { floating: moves }) }),
})

/** All candidates on a quarter of the rows once, then some three on all rows a step (measured: 20 of 60 blocks, 107 passes). */
export function fastPasses({ blocks, steps }: Scale): number {
  return blocks / 8 + 4 * steps
}

export interface FastOptions extends LoopOptions {
  /** What may go in one step; default single blocks of `kinds`. */
  readonly candidates?: Candidates | undefined
  /** What may come back after a step, for what (`floating.ts`); default nothing. */
  readonly floating?: Moves | undefined
}

/** Standard errors that a candidate may turn out better than it is thought to be. */
const z = 0.75
/** Candidates that are measured together. */
const heat = 2

/**
 * BlockPruner's greedy loop for a tenth of its work. It remembers the loss increase of every candidate on every row,
 *
 *     increase(b) = L(M without P ∪ {b}) − L(M without P),
 *
 * also from earlier steps, when P was smaller: it has mostly changed little since (`increases.ts`). In each step
 *
 *     measure the candidates whose  increase − z · its standard error  is lowest, until the lowest was measured on all rows.
 *
 * A candidate is first measured on a quarter of the rows, the one that it was measured on longest ago or never; then, while there
 * are rows it was never measured on, on another; then on all. So lazy greedy (Minoux 1978) meets racing (Maron and Moore 1994):
 * whoever is known to be poor is left alone, and whoever only looked poor on a few rows is tried again.
 *
 * What is yielded was measured on all rows, so its loss is the exact search's for the same plan; a second-best block is picked now
 * and then where the rows disagree. `runnerUp` is the best other candidate by all that is known of it: measured on all rows as
 * well, or, where it was not worth that, `estimated`.
 */
export async function* fast(
  model: Model,
  objective: RowObjective,
  { candidates: given, floating, ...options }: FastOptions = {},
): Steps {
  const { start = emptyPlan, signal } = options
  const candidates = given ?? movesFor(model, options).removals
  const increases = new Increases(objective.rows)
  let plan = start
  let [base] = await objective.evaluateRows([plan], { signal })
  for (;;) {
    const open = candidates(plan)
    if (open.length === 0) return
    const whole = new Map<string, Whole>()
    for (;;) {
      const entrants = mostPromising(open, increases, whole)
      if (entrants.length === 0) break
      for (const [range, blocks] of byRange(entrants, increases, objective)) {
        const plans = blocks.map((group) => withoutBlocks(plan, group))
        const measured = await objective.evaluateRows(plans, { range, prefix: plan, signal })
        for (const [i, values] of measured.entries()) {
          increases.record(
            `${blocks[i]}`,
            range[0],
            values.map((value, row) => increaseOf(value, base![range[0] + row]!)),
          )
          if (values.length < objective.rows) continue
          whole.set(`${blocks[i]}`, { blocks: blocks[i]!, values, loss: objective.combine(values) })
        }
      }
    }
    const order = new Map(open.map((blocks, i) => [`${blocks}`, i]))
    const place = ({ blocks }: Whole) => order.get(`${blocks}`)!
    const [winner] = [...whole.values()]
      .filter(({ loss }) => Number.isFinite(loss))
      .sort((a, b) => a.loss - b.loss || place(a) - place(b))
    if (winner === undefined) {
      throw new EngineError(
        `step with ${plan.blocks.length} blocks removed: all ${open.length} candidates have a loss that is no number; ` +
          'is the model damaged beyond what was removed?',
      )
    }
    const { blocks, loss } = winner
    const others = open.filter((group) => group !== blocks)
    const runnerUp = secondBest(others, increases, whole, objective.combine(base!))
    plan = withoutBlocks(plan, blocks)
    base = winner.values
    increases.nextStep()
    const found = { plan, values: base, loss }
    const floated = floating && (await floatingStep(model, objective, found, { moves: floating, ...known(blocks) }))
    if (floated === undefined) yield { plan, removed: blocks, loss, ...(runnerUp && { runnerUp }) }
    else {
      plan = floated.plan
      base = floated.values
      increases.nextStep()
      // who came second did so without the exchange
      yield { plan, removed: [...blocks, ...floated.removed], restored: floated.restored, loss: floated.loss }
    }
  }

  function known(latest: readonly BlockId[]) {
    const spread = increases.spread()
    return { increase: (blocks: readonly BlockId[]) => increases.estimate(`${blocks}`, spread).mean, latest, signal }
  }
}

/** A candidate that was measured on all rows in this step. */
interface Whole {
  readonly blocks: readonly BlockId[]
  readonly values: Float64Array
  readonly loss: number
}

/** The lowest of `others` by its loss where that was measured on all rows, else by what its rows and earlier steps say of it. */
function secondBest(
  others: readonly (readonly BlockId[])[],
  increases: Increases,
  whole: ReadonlyMap<string, Whole>,
  base: number,
): Score | undefined {
  const spread = increases.spread()
  const second = lowest(
    others.map((blocks) => {
      const measured = whole.get(`${blocks}`)
      return { blocks, measured, loss: measured?.loss ?? base + increases.estimate(`${blocks}`, spread).mean }
    }),
  )
  if (second === undefined) return undefined
  return { ...named(second.blocks, second.loss), ...(second.measured === undefined && { estimated: true }) }
}

/** Who may still be better than the best that was measured on all rows, the most promising few; all that were never tried. */
function mostPromising(
  open: readonly (readonly BlockId[])[],
  increases: Increases,
  whole: ReadonlyMap<string, Whole>,
): (readonly BlockId[])[] {
  const spread = increases.spread()
  const bounds = open.map((blocks) => {
    const { mean, error } = increases.estimate(`${blocks}`, spread)
    return { blocks, bound: mean - z * error, isWhole: whole.has(`${blocks}`) }
  })
  const untried = bounds.filter(({ bound }) => bound === Number.NEGATIVE_INFINITY)
  if (untried.length > 0) return untried.map(({ blocks }) => blocks)
  const best = Math.min(...bounds.filter(({ isWhole }) => isWhole).map(({ bound }) => bound))
  return bounds
    .toSorted((a, b) => (a.bound === b.bound ? 0 : a.bound - b.bound))
    .slice(0, heat)
    .filter(({ bound, isWhole }) => !isWhole && bound < best)
    .map(({ blocks }) => blocks)
}

/** The entrants by the rows that each is measured on next. */
function byRange(
  entrants: readonly (readonly BlockId[])[],
  increases: Increases,
  { rows }: RowObjective,
): [readonly [number, number], (readonly BlockId[])[]][] {
  const parts = quarters({ rows })
  const groups = new Map<string, [readonly [number, number], (readonly BlockId[])[]]>()
  for (const blocks of entrants) {
    const steps = parts.map(([start]) => increases.stepsOf(`${blocks}`)[start]!)
    const fresh = steps.filter((step) => increases.isFresh(step)).length
    const isPartly = fresh === 0 || (steps.includes(-1) && fresh < 2)
    const range = parts.length > 1 && isPartly ? parts[steps.indexOf(Math.min(...steps))]! : ([0, rows] as const)
    const group = groups.get(`${range}`) ?? [range, []]
    groups.set(`${range}`, group)
    group[1].push(blocks)
  }
  return [...groups.values()]
}

/** ∞ where the loss is no number any more; 0 on a row that has none in any plan. */
function increaseOf(value: number, base: number): number {
  if (Number.isNaN(base)) return 0
  return Number.isNaN(value) ? Number.POSITIVE_INFINITY : value - base
}
