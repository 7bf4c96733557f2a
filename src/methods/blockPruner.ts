import type { Model } from '../model/model.ts'
import { movesFor } from '../search/candidates.ts'
import type { Objective } from '../types.ts'
import { greedy, greedyPasses } from './greedy.ts'
import { defineMethod, type LoopOptions, type Steps } from './method.ts'
import { singleRemovable } from './units.ts'

export const method = defineMethod({
  name: 'blockpruner',
  role: 'method',
  title: 'BlockPruner',
  paper: 'arXiv:2406.10594',
  unit: 'block',
  cost: 'n passes a step, greedy',
  options: {},
  passes: ({ blocks, steps }) => greedyPasses(blocks, steps),
  removable: singleRemovable,
  searchable: true,
  run: ({ objective, moves, ...context }) => greedy(objective, moves.removals, context),
})

/**
 * BlockPruner (arXiv:2406.10594, Algorithm 1; code MrGGLS/BlockPruner):
 *
 *     P ← ∅;  repeat  b* = argmin over b ∉ P of PPL(M without P ∪ {b}),  P ← P ∪ {b*}
 *
 * As in the authors' code all attention candidates come before all mlp candidates, the first of equal losses wins (strict <), and a
 * NaN never wins. Where every candidate is NaN or infinite their code goes on without removing anything; here that is an `EngineError`.
 * Yields one removal at a time until no candidate is left.
 */
export function blockPruner(model: Model, objective: Objective, options: LoopOptions = {}): Steps {
  return greedy(objective, movesFor(model, options).removals, options)
}
