import { type Layer, layersOf } from '../model/layers.ts'
import type { Model } from '../model/model.ts'
import { emptyPlan } from '../model/plan.ts'
import type { Objective, PruningPlan, PruningStep, StopSignal } from '../types.ts'
import { best, lowest } from './lowest.ts'
import { named } from './removeInOrder.ts'
import { withoutBlocks } from './units.ts'

export interface SlebOptions {
  readonly signal?: StopSignal | undefined
}

/**
 * SLEB (arXiv:2402.09025; code jiwonsong-dev/SLEB): BlockPruner's greedy loop over whole layers,
 *
 *     P ← ∅;  repeat  l* = argmin over l ∉ P, not the first or last layer left, of NLL(M without P ∪ {l}),  P ← P ∪ {l*}
 *
 * Strict <, the first of equals wins. The authors rank by the summed loss; with rows of equal length its mean has the same order.
 * Yields until only the first and the last layer of each stack are left.
 */
export async function* sleb(
  model: Model,
  objective: Objective,
  { signal }: SlebOptions = {},
): AsyncGenerator<PruningStep, void> {
  let left = layersOf(model)
  let plan: PruningPlan = emptyPlan
  for (let step = 1; ; step++) {
    const candidates = innerLayers(left).map((layer) => ({ layer, blocks: layer.blocks.map(({ id }) => id) }))
    if (candidates.length === 0) return
    const losses = await objective.evaluate(
      candidates.map(({ blocks }) => withoutBlocks(plan, blocks)),
      signal,
    )
    const scores = candidates.map((candidate, i) => ({ ...candidate, loss: losses[i]! }))
    const chosen = best(scores, step)
    const runnerUp = lowest(scores.filter((score) => score !== chosen))
    left = left.filter((layer) => layer !== chosen.layer)
    plan = withoutBlocks(plan, chosen.blocks)
    yield {
      plan,
      removed: chosen.blocks,
      loss: chosen.loss,
      ...(runnerUp && { runnerUp: named(runnerUp.blocks, runnerUp.loss) }),
    }
  }
}

/** All but the first and the last layer of each stack. */
export function innerLayers(layers: readonly Layer[]): Layer[] {
  return layers.filter((layer) => {
    const own = layers.filter(({ stack }) => stack === layer.stack)
    return layer !== own[0] && layer !== own.at(-1)
  })
}
