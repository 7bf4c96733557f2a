import { defineMethod, type LoopOptions, type Steps } from '../methods/method.ts'
import { singleRemovable } from '../methods/units.ts'
import type { Model } from '../model/model.ts'
import { planKey, removedParameters } from '../model/plan.ts'
import type { BlockId, PruningPlan, RowObjective, StopSignal } from '../types.ts'
import { type Moves, movesFor, withoutBlocks, withoutRestored } from './candidates.ts'
import { firstPasses, firstSteps } from './firstSteps.ts'
import { quarterOf, race } from './race.ts'

export const search = defineMethod({
  name: 'swap',
  role: 'search',
  title: 'Swap',
  unit: 'block',
  cost: 'fast, then passes over an eighth of the rows for each exchange',
  options: {
    start: {
      type: 'choice',
      choices: ['fast', 'exact'],
      default: 'fast',
      orPlan: true,
      says: 'the search whose plan is improved, or a plan.json to improve, whose blocks may come back',
    },
    patience: {
      type: 'number',
      from: 1,
      to: 1e6,
      whole: true,
      says: 'exchanges in vain after which a sweep ends; all where it is off',
    },
  },
  // two sweeps of a quarter of the rows for every part of an exchange, and for the exchanges tried
  passes: (scale, { start, patience }) =>
    firstPasses(scale, start) +
    scale.blocks / 4 +
    Math.min(patience ?? Number.POSITIVE_INFINITY, scale.steps * (scale.blocks - scale.steps)) / 4,
  removable: singleRemovable,
  endsItself: true,
  run: ({ model, objective, ...context }, { start, patience }) =>
    swap(model, objective, { ...context, from: firstSteps({ model, objective, ...context }, start), patience }),
})

export interface SwapOptions extends LoopOptions {
  /** The search whose result is improved; its steps are yielded up to the budget. */
  readonly from: Steps
  readonly isReached: (plan: PruningPlan) => boolean
  /** What may go and come back at once; default single blocks. */
  readonly moves?: Moves | undefined
  /** Exchanges in a row that improve nothing, after which a sweep ends; default all. */
  readonly patience?: number | undefined
}

/** Exchanges that race together. */
const heat = 8

/**
 * Local search by exchanges: from the plan S of another search, put one removed block a back and remove another b,
 *
 *     S ← S − a + b  while  L(M without S − a + b) < L(M without S),
 *
 * never leaving more parameters than the start does. Where b is the larger, as an mlp for an attention, others come back with a
 * as long as they fit; where it is the smaller, others go with it: an exchange always uses the whole budget. A sweep tries all
 * of them in the order of the sum of what each part does alone, Σ [L(S − a) − L(S)] + Σ [L(S + b) − L(S)] on the first quarter
 * of the rows; eight at a time race against S (`race.ts`). Ends after a sweep that improved nothing. The loss never rises.
 */
export async function* swap(
  model: Model,
  objective: RowObjective,
  { from, isReached, patience = Number.POSITIVE_INFINITY, moves: given, ...options }: SwapOptions,
): Steps {
  const { signal } = options
  const moves = given ?? movesFor(model, options)
  let plan: PruningPlan | undefined
  for await (const step of from) {
    yield step
    plan = step.plan
    if (isReached(plan)) break
  }
  if (plan === undefined || !isReached(plan)) return
  const least = removedParameters(model, plan)
  const isAllowed = (next: PruningPlan) => isReached(next) && removedParameters(model, next) >= least
  let [values] = await objective.evaluateRows([plan], { signal })
  let loss = objective.combine(values!)
  for (let hasImproved = true; hasImproved; ) {
    hasImproved = false
    const waiting = await promisingExchanges(objective, plan, moves, isAllowed, signal)
    for (let inVain = 0; waiting.length > 0 && inVain < patience; ) {
      const tried: { exchange: Exchange; plan: PruningPlan }[] = []
      while (tried.length < Math.min(heat, patience - inVain) && waiting.length > 0) {
        const exchange = waiting.shift()!
        const next = exchanged(plan, exchange, moves)
        if (next !== undefined && isAllowed(next)) tried.push({ exchange, plan: next })
      }
      const plans = tried.map((entry) => entry.plan)
      const { finalists } = await race(objective, plans, { leader: values, prefix: plan, signal })
      const [best] = finalists
      if (best === undefined || best.loss >= loss) {
        inVain += tried.length
        continue
      }
      const { exchange } = tried[best.index]!
      hasImproved = true
      inVain = 0
      plan = tried[best.index]!.plan
      values = best.values
      loss = best.loss
      yield { plan, removed: blocksOf(exchange.out), restored: blocksOf(exchange.back), loss }
    }
  }
}

const blocksOf = (halves: readonly Half[]): BlockId[] => halves.flatMap(({ blocks }) => blocks)

/** Blocks as the moves name them, and by how much the loss changes when they alone come back, or go. */
interface Half {
  readonly blocks: readonly BlockId[]
  readonly change: number
}

/** What comes back and what goes for it, each in the order in which it is taken. */
interface Exchange {
  readonly back: readonly Half[]
  readonly out: readonly Half[]
}

/** Every exchange of one for one, or for nothing, with what completes it; the one whose parts promise most first. */
async function promisingExchanges(
  objective: RowObjective,
  plan: PruningPlan,
  moves: Moves,
  isAllowed: (plan: PruningPlan) => boolean,
  signal: StopSignal | undefined,
): Promise<Exchange[]> {
  const [back, out] = [moves.restorations(plan), moves.removals(plan)]
  const plans = [...back.map((b) => withoutRestored(plan, b)), ...out.map((b) => withoutBlocks(plan, b))]
  const range = quarterOf(objective)
  const [own, ...values] = await objective.evaluateRows([plan, ...plans], { range, prefix: plan, signal })
  const halves = [...back, ...out].map((blocks, i) => {
    const change = objective.combine(values[i]!) - objective.combine(own!)
    return { blocks, change: Number.isNaN(change) ? Number.POSITIVE_INFINITY : change }
  })
  const [backs, outs] = [inOrder(halves.slice(0, back.length)), inOrder(halves.slice(back.length))]
  const found = new Map<string, Exchange & { readonly change: number }>()
  for (const first of backs) {
    for (const second of [[], ...outs.map((half) => [half])]) {
      const whole = completed(plan, { back: [first], out: second }, { back: backs, out: outs }, moves, isAllowed)
      if (whole === undefined || found.has(planKey(whole.next))) continue
      const { exchange, next } = whole
      const change = [...exchange.back, ...exchange.out].reduce((total, half) => total + half.change, 0)
      found.set(planKey(next), { ...exchange, change })
    }
  }
  return inOrder([...found.values()])
}

/**
 * `exchange` with the cheapest of the others gone until the budget is reached again, and with the dearest of the removed back as
 * long as they fit and promise anything; undefined where the budget cannot be reached.
 */
function completed(
  plan: PruningPlan,
  exchange: Exchange,
  halves: Exchange,
  moves: Moves,
  isAllowed: (plan: PruningPlan) => boolean,
): { readonly exchange: Exchange; readonly next: PruningPlan } | undefined {
  let whole = exchange
  let next = exchanged(plan, whole, moves)
  const extend = (longer: Exchange, isWanted: (plan: PruningPlan) => boolean) => {
    const then = exchanged(plan, longer, moves)
    if (then !== undefined && isWanted(then)) [whole, next] = [longer, then]
  }
  for (const half of halves.out) {
    if (next === undefined || isAllowed(next)) break
    if (!whole.out.includes(half)) extend({ ...whole, out: [...whole.out, half] }, () => true)
  }
  for (const half of halves.back) {
    if (next === undefined || half.change >= 0) break
    if (!whole.back.includes(half)) extend({ ...whole, back: [...whole.back, half] }, isAllowed)
  }
  return next !== undefined && isAllowed(next) ? { exchange: whole, next } : undefined
}

/** `plan` after `exchange`; undefined where it does not apply, as when an earlier exchange took a part of it. */
function exchanged(plan: PruningPlan, { back, out }: Exchange, { removals, restorations }: Moves) {
  const has = (list: readonly (readonly BlockId[])[], blocks: readonly BlockId[]) =>
    list.some((entry) => `${entry}` === `${blocks}`)
  let next = plan
  for (const { blocks } of back) {
    if (!has(restorations(next), blocks)) return undefined
    next = withoutRestored(next, blocks)
  }
  for (const { blocks } of out) {
    if (!has(removals(next), blocks)) return undefined
    next = withoutBlocks(next, blocks)
  }
  return next
}

/** The lowest change first, the first of equals first. */
function inOrder<Entry extends { readonly change: number }>(entries: readonly Entry[]): Entry[] {
  return entries.toSorted((a, b) => (a.change === b.change ? 0 : a.change - b.change))
}
