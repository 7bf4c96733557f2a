import type { Model } from '../model/model.ts'
import { remainingBlocks } from '../model/plan.ts'
import type { BlockId, BlockKind, PruningPlan } from '../types.ts'

/** What may go next after a plan: each candidate names the blocks that go together in one step. The first of equals wins. */
export type Candidates = (plan: PruningPlan) => readonly (readonly BlockId[])[]

/** Single blocks in BlockPruner's order: kind by kind, in forward order within a kind. */
export function singleBlocks(model: Model, kinds: readonly BlockKind[] = ['attention', 'mlp']): Candidates {
  return (plan) => remainingBlocks(model, plan, kinds).map(({ id }) => [id])
}

/** `plan` with the blocks of a candidate more. */
export function withoutCandidate(plan: PruningPlan, blocks: readonly BlockId[]): PruningPlan {
  return { ...plan, blocks: [...plan.blocks, ...blocks] }
}

/** A candidate as the runner-up of a step: its first block, and those that would go with it. */
export function runnerUpOf(blocks: readonly BlockId[], loss: number) {
  const [block, ...others] = blocks
  return { block: block!, loss, ...(others.length > 0 && { others }) }
}
