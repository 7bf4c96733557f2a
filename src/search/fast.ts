import { EngineError } from '../errors.ts'
import type { Model } from '../model/model.ts'
import { emptyPlan } from '../model/plan.ts'
import type { BlockId, BlockKind, PruningPlan, PruningStep, RowObjective, StopSignal } from '../types.ts'
import { type Candidates, runnerUpOf, singleBlocks, withoutCandidate } from './candidates.ts'
import { race } from './race.ts'

export interface FastOptions {
  /** Kinds of blocks that may go; default attention and mlp. */
  readonly kinds?: readonly BlockKind[] | undefined
  /** What may go in one step; default single blocks of `kinds`. */
  readonly candidates?: Candidates | undefined
  readonly signal?: StopSignal | undefined
}

/** Candidates that race together when all have been tried before. */
const heat = 4
/** Candidates that challenge the winner together, as long as their stale loss increase is the lower one. */
const challengers = 2

/**
 * BlockPruner's greedy loop for a tenth of its work. In each step the candidates come in the order of their loss increase
 *
 *     increase(b) = L(M without P ∪ {b}) − L(M without P),  as it was for the P of the step in which b was last tried.
 *
 * Removing more mostly makes the rest dearer, so a stale increase is mostly too low (lazy greedy: Minoux 1978). The first four
 * race (`race.ts`); then whoever's stale increase is below the winner's fresh one challenges it, and the step ends when the next
 * in the order has a higher one. Increases from a part of the rows are made comparable by the winner of their step:
 * increase(b) = increase(winner) + mean over the rows of b of (value of b − value of winner).
 *
 * What is yielded was measured on all rows, so its loss is the exact search's for the same plan; a second-best block is picked now
 * and then where the rows disagree. `runnerUp` is the best other candidate that was measured on all rows.
 */
export async function* fast(
  model: Model,
  objective: RowObjective,
  { kinds, candidates = singleBlocks(model, kinds).removals, signal }: FastOptions = {},
): AsyncGenerator<PruningStep, void> {
  let plan: PruningPlan = emptyPlan
  let [loss = Number.NaN] = await objective.evaluate([plan], signal)
  const known = new Map<string, number>()
  for (;;) {
    const waiting = inOrder(candidates(plan), known)
    if (waiting.length === 0) return
    const tried: Tried[] = []
    const finalists: Finalist[] = []
    let winner: Finalist | undefined
    while (waiting.length > 0 && (winner === undefined || waiting[0]!.increase < winner.loss - loss)) {
      const untried = waiting.filter(({ increase }) => increase === Number.NEGATIVE_INFINITY).length
      const entrants = waiting.splice(0, Math.max(untried, winner === undefined ? heat : challengers))
      const plans = entrants.map(({ blocks }) => withoutCandidate(plan, blocks))
      const result = await race(objective, plans, { leader: winner?.values, trunk: plan, signal })
      for (const { index, values } of result.runners) tried.push({ blocks: entrants[index]!.blocks, values })
      for (const { index, values, loss } of result.finalists) {
        const { blocks, order } = entrants[index]!
        finalists.push({ blocks, order, values, loss })
      }
      finalists.sort((a, b) => a.loss - b.loss || a.order - b.order)
      winner = finalists[0]
    }
    if (winner === undefined) {
      throw new EngineError(
        `step with ${plan.blocks.length} blocks removed: all ${tried.length} candidates have a loss that is no number; ` +
          'is the model damaged beyond what was removed?',
      )
    }
    for (const { blocks, values } of tried) {
      const rows = values.length
      const behind = objective.combine(values) - objective.combine(winner.values.subarray(0, rows))
      known.set(`${blocks}`, winner.loss - loss + (Number.isFinite(behind) ? behind : Number.POSITIVE_INFINITY))
    }
    plan = withoutCandidate(plan, winner.blocks)
    loss = winner.loss
    const [, second] = finalists
    yield { plan, removed: winner.blocks, loss, ...(second && { runnerUp: runnerUpOf(second.blocks, second.loss) }) }
  }
}

interface Waiting {
  readonly blocks: readonly BlockId[]
  readonly order: number
  readonly increase: number
}

interface Tried {
  readonly blocks: readonly BlockId[]
  readonly values: Float64Array
}

interface Finalist extends Tried {
  readonly order: number
  readonly loss: number
}

/** The candidates by the increase last seen, those never tried first, equals in their own order. */
function inOrder(candidates: readonly (readonly BlockId[])[], known: ReadonlyMap<string, number>): Waiting[] {
  return candidates
    .map((blocks, order) => ({ blocks, order, increase: known.get(`${blocks}`) ?? Number.NEGATIVE_INFINITY }))
    .sort((a, b) => (a.increase === b.increase ? a.order - b.order : a.increase - b.increase))
}
