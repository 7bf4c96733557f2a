import type { StackTable } from '../model/architecture.ts'
import { kindsOf } from '../model/kinds.ts'
import { layersOf } from '../model/layers.ts'
import type { Model } from '../model/model.ts'
import { hasParallelBranches } from '../model/parallelBranches.ts'
import { emptyPlan, planKey, remainingBlocks } from '../model/plan.ts'
import type { Block, BlockId, BlockKind, PruningPlan, StackName } from '../types.ts'

/** What may go next after a plan: each candidate names the blocks that go together in one step. The first of equals wins. */
export type Candidates = (plan: PruningPlan) => readonly (readonly BlockId[])[]

/** What may go in a step and, for searches that take steps back, what may come back: each names blocks that go together. */
export interface Moves {
  readonly removals: Candidates
  readonly restorations: Candidates
}

/** Single blocks in BlockPruner's order: kind by kind, in forward order within a kind. */
export function singleBlocks(model: Model, kinds: readonly BlockKind[] = kindsOf(model)): Moves {
  return {
    removals: (plan) => remainingBlocks(model, plan, kinds).map(({ id }) => [id]),
    restorations: (plan) => plan.blocks.map((id) => [id]),
  }
}

/** Single blocks that may go or come back, where some stay and some are gone from the start for good. */
export function movesFor(model: Model, { kinds, keep, start }: MoveLimits): Moves {
  return movesLeaving(singleBlocks(model, kinds), { keep, start })
}

export interface MoveLimits {
  readonly kinds?: readonly BlockKind[] | undefined
  /** Blocks that stay. */
  readonly keep?: ReadonlySet<BlockId> | undefined
  /** What it removes neither goes nor comes back. */
  readonly start?: PruningPlan | undefined
}

/** `moves` without those that touch a block that is to be left alone. */
export function movesLeaving(moves: Moves, { keep = new Set(), start = emptyPlan }: MoveLimits): Moves {
  if (keep.size === 0 && start.blocks.length === 0) return moves
  const isFree = (blocks: readonly BlockId[]) => !blocks.some((id) => keep.has(id) || start.blocks.includes(id))
  return {
    removals: (plan) => moves.removals(plan).filter(isFree),
    restorations: (plan) => moves.restorations(plan).filter(isFree),
  }
}

/**
 * Neighbours in the surviving sequence, one of each kind: (attention i, mlp i) or (mlp i, attention j) with nothing between them.
 * Without them the survivors still alternate attention, mlp, attention, mlp …, so every plan made of them is a stock checkpoint.
 * Where the branches of a layer are parallel only those of one layer can go.
 */
export function adjacentBlocks(model: Model): Moves {
  const stacks = Object.entries(model.architecture.stacks) as [StackName, StackTable][]
  const isLoose = ([, table]: [StackName, StackTable]) => !hasParallelBranches(model.config, table)
  return {
    removals: (plan) =>
      stacks.flatMap(([stack, table]) => {
        const left = survivors(model, plan, stack)
        const starts = left.slice(0, Math.max(0, left.length - table.blocks.length + 1))
        const together = starts.map((_, i) => left.slice(i, i + table.blocks.length))
        const allowed = together.filter((blocks) => isLoose([stack, table]) || areOneLayer(blocks))
        return allowed.map((blocks) => blocks.map(({ id }) => id))
      }),
    restorations: (plan) => {
      const gone = model.blocks.filter(({ id }) => plan.blocks.includes(id))
      const groups = stacks.flatMap(([stack, table]) =>
        onePerKind(
          table.blocks.map(({ kind }) => gone.filter((block) => block.stack === stack && block.kind === kind)),
        ).filter((blocks) => isLoose([stack, table]) || areOneLayer(blocks)),
      )
      const ids = groups.map((blocks) => blocks.map(({ id }) => id))
      return ids.filter((blocks) => alternates(model, withoutRestored(plan, blocks)))
    },
  }
}

/** Whole layers in forward order. */
export function wholeLayers(model: Model): Moves {
  const layers = layersOf(model).map(({ blocks }) => blocks.map(({ id }) => id))
  return {
    removals: (plan) => layers.filter((blocks) => !blocks.some((id) => plan.blocks.includes(id))),
    restorations: (plan) => layers.filter((blocks) => blocks.every((id) => plan.blocks.includes(id))),
  }
}

/** The moves that lead to plans for which `isAllowed` holds, which is asked once for each plan that they leave from. */
export function movesWithin({ removals, restorations }: Moves, isAllowed: (plan: PruningPlan) => boolean): Moves {
  return {
    removals: oncePerPlan((plan) => removals(plan).filter((blocks) => isAllowed(withoutBlocks(plan, blocks)))),
    restorations: oncePerPlan((plan) =>
      restorations(plan).filter((blocks) => isAllowed(withoutRestored(plan, blocks))),
    ),
  }
}

function oncePerPlan(candidates: Candidates): Candidates {
  const known = new Map<string, ReturnType<Candidates>>()
  return (plan) => {
    const found = known.get(planKey(plan)) ?? candidates(plan)
    known.set(planKey(plan), found)
    return found
  }
}

/** Whether the survivors of every stack come kind after kind as in a layer, and end with a whole layer. */
export function alternates(model: Model, plan: PruningPlan): boolean {
  return (Object.entries(model.architecture.stacks) as [StackName, StackTable][]).every(([stack, { blocks }]) => {
    const left = survivors(model, plan, stack)
    return left.length % blocks.length === 0 && left.every(({ kind }, i) => kind === blocks[i % blocks.length]!.kind)
  })
}

/** `plan` with several blocks more. */
export function withoutBlocks(plan: PruningPlan, blocks: readonly BlockId[]): PruningPlan {
  return { ...plan, blocks: [...plan.blocks, ...blocks] }
}

/** `plan` with `blocks` back in the model. */
export function withoutRestored(plan: PruningPlan, blocks: readonly BlockId[]): PruningPlan {
  return { ...plan, blocks: plan.blocks.filter((id) => !blocks.includes(id)) }
}

function survivors(model: Model, plan: PruningPlan, stack: StackName): Block[] {
  const gone = new Set(plan.blocks)
  return model.blocks.filter((block) => block.stack === stack && !gone.has(block.id))
}

function areOneLayer(blocks: readonly Block[]): boolean {
  return blocks.every(({ layer }) => layer === blocks[0]?.layer)
}

/** Every choice of one block from each list. */
function onePerKind(lists: readonly (readonly Block[])[]): Block[][] {
  return lists.reduce<Block[][]>((chosen, list) => chosen.flatMap((few) => list.map((b) => [...few, b])), [[]])
}
