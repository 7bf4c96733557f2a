import { kindsOf } from '../model/kinds.ts'
import type { Model } from '../model/model.ts'
import { emptyPlan, remainingBlocks, withoutBlock } from '../model/plan.ts'
import type { BlockKind, Objective, PruningPlan, PruningStep, StopSignal } from '../types.ts'
import { best, lowest } from './lowest.ts'

export interface BlockPrunerOptions {
  /** Kinds of blocks that may go; default all that the model has. */
  readonly kinds?: readonly BlockKind[] | undefined
  readonly signal?: StopSignal | undefined
}

/**
 * BlockPruner (arXiv:2406.10594, Algorithm 1; code MrGGLS/BlockPruner):
 *
 *     P ← ∅;  repeat  b* = argmin over b ∉ P of PPL(M without P ∪ {b}),  P ← P ∪ {b*}
 *
 * As in the authors' code all attention candidates come before all mlp candidates, the first of equal losses wins (strict <), and a
 * NaN never wins. Where every candidate is NaN or infinite their code goes on without removing anything; here that is an `EngineError`.
 * Yields one removal at a time until no candidate is left.
 */
export async function* blockPruner(
  model: Model,
  objective: Objective,
  { kinds = kindsOf(model), signal }: BlockPrunerOptions = {},
): AsyncGenerator<PruningStep, void> {
  let plan: PruningPlan = emptyPlan
  for (;;) {
    const candidates = remainingBlocks(model, plan, kinds)
    if (candidates.length === 0) return
    const losses = await objective.evaluate(
      candidates.map(({ id }) => withoutBlock(plan, id)),
      signal,
    )
    const scores = candidates.map(({ id }, i) => ({ block: id, loss: losses[i]! }))
    const chosen = best(scores, plan.blocks.length + 1)
    const runnerUp = lowest(scores.filter((score) => score !== chosen))
    plan = withoutBlock(plan, chosen.block)
    yield { plan, removed: [chosen.block], loss: chosen.loss, ...(runnerUp && { runnerUp }) }
  }
}
