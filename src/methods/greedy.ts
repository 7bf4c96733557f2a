import { EngineError } from '../errors.ts'
import { emptyPlan } from '../model/plan.ts'
import { type Candidates, withoutBlocks } from '../search/candidates.ts'
import type { Objective } from '../types.ts'
import type { LoopOptions, Steps } from './method.ts'
import { finite, named } from './removeInOrder.ts'

/**
 * The loop of every greedy method: in each step the candidate goes whose removal leaves the lowest value,
 *
 *     P ← start;  repeat  c* = argmin over c ∉ P of L(M without P ∪ c),  P ← P ∪ c*
 *
 * the first of equal values (strict <); a NaN never wins, and where every candidate is NaN or infinite it throws `EngineError`.
 * `candidates` says what may go after a plan. Yields until nothing may go any more.
 */
export async function* greedy(
  objective: Objective,
  candidates: Candidates,
  { start = emptyPlan, signal }: LoopOptions = {},
): Steps {
  let plan = start
  for (let step = 1; ; step++) {
    const open = candidates(plan)
    if (open.length === 0) return
    const losses = await objective.evaluate(
      open.map((blocks) => withoutBlocks(plan, blocks)),
      signal,
    )
    const scores = open.map((blocks, i) => ({ blocks, loss: losses[i]! }))
    const chosen = best(scores, step)
    const runnerUp = lowest(scores.filter((score) => score !== chosen))
    plan = withoutBlocks(plan, chosen.blocks)
    yield {
      plan,
      removed: chosen.blocks,
      loss: chosen.loss,
      ...(runnerUp && { runnerUp: named(runnerUp.blocks, runnerUp.loss) }),
    }
  }
}

/** Passes of the loop over `candidates` until `steps` are gone: Σ over the steps of half a pass for each candidate left. */
export function greedyPasses(candidates: number, steps: number): number {
  return (steps * candidates - (steps * (steps - 1)) / 2) / 2
}

/** The steps of a loop that compares plans by something else, with the loss of each, and what it was chosen by as its score. */
export async function* withLosses(steps: Steps, objective: Objective, signal?: LoopOptions['signal']): Steps {
  for await (const step of steps) {
    const [loss = Number.NaN] = await objective.evaluate([step.plan], signal)
    yield { ...step, loss: finite(loss, step.removed), score: step.loss }
  }
}

/** The first of `scores` with the lowest finite loss, undefined when none is finite: strict <, so a NaN never wins. */
export function lowest<Scored extends { readonly loss: number }>(scores: readonly Scored[]): Scored | undefined {
  let found: Scored | undefined
  for (const score of scores) {
    if (score.loss < (found?.loss ?? Number.POSITIVE_INFINITY)) found = score
  }
  return found
}

/** The lowest of the candidates of step `step`. Throws `EngineError` when none has a finite loss. */
export function best<Scored extends { readonly loss: number }>(scores: readonly Scored[], step: number): Scored {
  const found = lowest(scores)
  if (found !== undefined) return found
  throw new EngineError(
    `step ${step}: all ${scores.length} candidates have a loss that is no number; ` +
      'is the model damaged beyond what was removed?',
  )
}
