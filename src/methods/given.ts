import { PlanError } from '../errors.ts'
import { blocksNamed } from '../model/blockList.ts'
import type { Model } from '../model/model.ts'
import { emptyPlan } from '../model/plan.ts'
import { withoutBlocks } from '../search/candidates.ts'
import type { BlockId, Objective } from '../types.ts'
import { defineMethod, type LoopOptions, type Scope, type Steps } from './method.ts'
import { finite } from './removeInOrder.ts'

export const method = defineMethod({
  name: 'given',
  role: 'method',
  title: 'Blocks chosen by hand',
  unit: 'what is named',
  cost: 'none',
  note: 'removes exactly the blocks of --remove-blocks and asks for no budget',
  options: {
    removeBlocks: {
      type: 'list',
      says: 'blocks, layers and ranges of layers to remove, as decoder.7.mlp,decoder.3,decoder.20-24; nothing is searched',
    },
  },
  chosenBy: 'removeBlocks',
  removesAll: true,
  endsItself: true,
  removable: (scope, { removeBlocks = [] }) => partsOf(scope, removeBlocks).flat(),
  run: ({ objective, ...context }, { removeBlocks = [] }) => given(objective, partsOf(context, removeBlocks), context),
})

/** Removes `parts` in the order given, each in one step. */
export async function* given(
  objective: Objective,
  parts: readonly (readonly BlockId[])[],
  { start = emptyPlan, signal }: LoopOptions = {},
): Steps {
  let plan = start
  for (const removed of parts) {
    plan = withoutBlocks(plan, removed)
    const [loss = Number.NaN] = await objective.evaluate([plan], signal)
    yield { plan, removed, loss: finite(loss, removed) }
  }
}

/** The blocks that each part of the list names, each block once. Throws `PlanError` for one that is to stay. */
function partsOf(
  { model, start, kinds, keep }: Scope & { readonly model: Model },
  list: readonly string[],
): BlockId[][] {
  if (list.length === 0) throw new PlanError('--remove-blocks: names no block; give a list, or take another method')
  const seen = new Set<BlockId>(start.blocks)
  const kindOf = new Map(model.blocks.map(({ id, kind }) => [id, kind]))
  return list
    .map((part) => {
      const named = blocksNamed(model, [part], '--remove-blocks').filter((id) => kinds.includes(kindOf.get(id)!))
      const kept = named.find((id) => keep.has(id))
      if (kept !== undefined)
        throw new PlanError(`--remove-blocks ${part}: ${kept} is to be kept; leave one of them out`)
      const fresh = named.filter((id) => !seen.has(id))
      for (const id of fresh) seen.add(id)
      return fresh
    })
    .filter((blocks) => blocks.length > 0)
}
