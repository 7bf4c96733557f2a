import { EngineError } from '../errors.ts'
import { emptyPlan } from '../model/plan.ts'
import type { Objective, PruningPlan, PruningStep, StopSignal } from '../types.ts'
import { type Candidates, runnerUpOf, withoutCandidate } from './candidates.ts'

/**
 * The greedy loop of BlockPruner (arXiv:2406.10594, Algorithm 1) on candidates of any size: in each step the one whose removal
 * leaves the lowest loss, the first of equals. On single blocks it is `blockPruner`, step by step.
 */
export async function* exact(
  objective: Objective,
  candidates: Candidates,
  signal?: StopSignal,
): AsyncGenerator<PruningStep, void> {
  let plan: PruningPlan = emptyPlan
  for (;;) {
    const open = candidates(plan)
    if (open.length === 0) return
    const losses = await objective.evaluate(
      open.map((blocks) => withoutCandidate(plan, blocks)),
      signal,
    )
    const ranked = open
      .map((blocks, i) => ({ blocks, loss: losses[i]! }))
      .filter(({ loss }) => Number.isFinite(loss))
      .sort((a, b) => a.loss - b.loss)
    const [best, second] = ranked
    if (best === undefined) {
      throw new EngineError(
        `step with ${plan.blocks.length} blocks removed: all ${open.length} candidates have a loss that is no number; ` +
          'is the model damaged beyond what was removed?',
      )
    }
    plan = withoutCandidate(plan, best.blocks)
    const runnerUp = second && { runnerUp: runnerUpOf(second.blocks, second.loss) }
    yield { plan, removed: best.blocks, loss: best.loss, ...runnerUp }
  }
}
