import { EngineError } from '../errors.ts'
import { emptyPlan } from '../model/plan.ts'
import { withoutBlocks } from '../search/candidates.ts'
import type { BlockId, Objective, Score } from '../types.ts'
import type { LoopOptions, Steps } from './method.ts'

/** Blocks that go together, and what a method thinks of the model without them: lower goes first. */
export interface Ranked {
  readonly blocks: readonly BlockId[]
  readonly score: number
}

/** The loop of every one-shot method: what has the lowest score goes first, equal scores in the order given. */
export async function* removeInOrder(
  objective: Objective,
  scored: readonly Ranked[],
  { start = emptyPlan, signal }: LoopOptions = {},
): Steps {
  const ranking = ascending(scored)
  let plan = start
  for (const [i, { blocks, score }] of ranking.entries()) {
    plan = withoutBlocks(plan, blocks)
    const [loss = Number.NaN] = await objective.evaluate([plan], signal)
    const next = ranking[i + 1]
    yield {
      plan,
      removed: blocks,
      loss: finite(loss, blocks),
      score,
      ...(next && { runnerUp: named(next.blocks, next.score) }),
    }
  }
}

/** Blocks that would go together, with what they are judged by. */
export function named([block, ...others]: readonly BlockId[], loss: number): Score {
  return { block: block!, loss, ...(others.length > 0 && { others }) }
}

/** Throws `EngineError` for a score that is no number. */
function ascending(scored: readonly Ranked[]): Ranked[] {
  const wrong = scored.find(({ score }) => Number.isNaN(score))
  if (wrong !== undefined) {
    throw new EngineError(`${wrong.blocks.join(' ')}: its score is NaN, expected a number; is the checkpoint damaged?`)
  }
  return scored.toSorted((a, b) => a.score - b.score)
}

/** The loss after the removal of `blocks`. Throws `EngineError` when it is no number. */
export function finite(loss: number, blocks: readonly BlockId[]): number {
  if (Number.isFinite(loss)) return loss
  throw new EngineError(
    `without ${blocks.join(' ')} the loss is ${loss}, expected a finite number; stop at a smaller budget`,
  )
}
