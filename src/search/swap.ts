import type { Model } from '../model/model.ts'
import { removedParameters } from '../model/plan.ts'
import type { BlockId, PruningPlan, PruningStep, RowObjective, StopSignal } from '../types.ts'
import { type Moves, singleBlocks, withoutCandidate, withoutRestored } from './candidates.ts'
import { quarterOf, race } from './race.ts'

export interface SwapOptions {
  /** The search whose result is improved; its steps are yielded up to the budget. */
  readonly start: AsyncGenerator<PruningStep, void>
  readonly isReached: (plan: PruningPlan) => boolean
  /** What may go and come back at once; default single blocks. */
  readonly moves?: Moves | undefined
  readonly signal?: StopSignal | undefined
}

/** Exchanges that race together. */
const heat = 8

/**
 * 1-swap local search: from the plan S of another search, put one removed block a back and remove another b,
 *
 *     S ← S − a + b  while  L(M without S − a + b) < L(M without S),
 *
 * never leaving more parameters than the start does; where there is room, a comes back for nothing. A sweep tries all exchanges
 * in the order of the sum of what each half does alone, [L(S − a) − L(S)] + [L(S + b) − L(S)] on the first quarter of the rows;
 * eight at a time race against S (`race.ts`). Ends after a sweep that improved nothing. The loss never rises.
 */
export async function* swap(
  model: Model,
  objective: RowObjective,
  { start, isReached, moves = singleBlocks(model), signal }: SwapOptions,
): AsyncGenerator<PruningStep, void> {
  let plan: PruningPlan | undefined
  for await (const step of start) {
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
    const waiting = await promisingExchanges(objective, plan, moves, signal)
    while (waiting.length > 0) {
      const tried: { exchange: Exchange; plan: PruningPlan }[] = []
      while (tried.length < heat && waiting.length > 0) {
        const exchange = waiting.shift()!
        const next = exchanged(plan, exchange, moves)
        if (next !== undefined && isAllowed(next)) tried.push({ exchange, plan: next })
      }
      const plans = tried.map((entry) => entry.plan)
      const { finalists } = await race(objective, plans, { leader: values, trunk: plan, signal })
      const [best] = finalists
      if (best === undefined || best.loss >= loss) continue
      const { exchange } = tried[best.index]!
      hasImproved = true
      plan = tried[best.index]!.plan
      values = best.values
      loss = best.loss
      yield { plan, removed: exchange.out, restored: exchange.back, loss }
    }
  }
}

interface Exchange {
  readonly back: readonly BlockId[]
  /** Empty: nothing goes for it. */
  readonly out: readonly BlockId[]
}

/** Every exchange, the one whose halves promise most first. */
async function promisingExchanges(
  objective: RowObjective,
  plan: PruningPlan,
  { removals, restorations }: Moves,
  signal: StopSignal | undefined,
): Promise<Exchange[]> {
  const [back, out] = [restorations(plan), removals(plan)]
  const halves = [...back.map((b) => withoutRestored(plan, b)), ...out.map((b) => withoutCandidate(plan, b))]
  const range = quarterOf(objective)
  const [own, ...values] = await objective.evaluateRows([plan, ...halves], { range, trunk: plan, signal })
  const changes = values.map((half) => objective.combine(half) - objective.combine(own!))
  const change = (index: number) => (Number.isNaN(changes[index]!) ? Number.POSITIVE_INFINITY : changes[index]!)
  const exchanges = back.flatMap((blocks, i) => [
    { back: blocks, out: [], change: change(i) },
    ...out.map((other, j) => ({ back: blocks, out: other, change: change(i) + change(back.length + j) })),
  ])
  return exchanges.sort((a, b) => (a.change === b.change ? 0 : a.change - b.change))
}

/** `plan` after `exchange`; undefined where it no longer applies, because an earlier exchange took a part of it. */
function exchanged(plan: PruningPlan, { back, out }: Exchange, { removals, restorations }: Moves) {
  const has = (list: readonly (readonly BlockId[])[], blocks: readonly BlockId[]) =>
    list.some((entry) => `${entry}` === `${blocks}`)
  if (!has(restorations(plan), back)) return undefined
  const between = withoutRestored(plan, back)
  if (out.length === 0) return between
  return has(removals(between), out) ? withoutCandidate(between, out) : undefined
}
