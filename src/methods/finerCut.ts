import { kindsOf } from '../model/kinds.ts'
import type { Model } from '../model/model.ts'
import { emptyPlan, remainingBlocks, withoutBlock } from '../model/plan.ts'
import type { Block, BlockKind, Objective, PruningPlan, PruningStep, StopSignal } from '../types.ts'
import { best, lowest } from './lowest.ts'
import { finite } from './removeInOrder.ts'

export interface FinerCutOptions {
  /** Kinds of blocks that may go; default all that the model has. */
  readonly kinds?: readonly BlockKind[] | undefined
  /** Which of equal distances wins: `forward`, as in BlockPruner, or `names`, the order of module names sorted as text. */
  readonly order?: 'forward' | 'names' | undefined
  /** x, 0..1: the first ⌊n·x/2⌋+1 layers stay until ⌊n·x⌋+1 of the n blocks are gone; absent: no layer is frozen. */
  readonly freeze?: number | undefined
  readonly signal?: StopSignal | undefined
}

/**
 * FinerCut (arXiv:2405.18218; code YaNgZhAnG-V5/llm_dissect):
 *
 *     P ← ∅;  repeat  b* = argmin over b ∉ P of d( M, M without P ∪ {b} ),  P ← P ∪ {b*}
 *
 * `distance` is d, the distance of the outputs to those of the dense model, never to the step before. The paper's Jensen-Shannon
 * divergence is the default of the command; the released code computes KL(mixture ‖ output) instead, here `js_reversed`. It sorts
 * the candidates by name as text and freezes the first layers for a start, layer 0 for one step even at x = 0; both are options
 * here and off. Yields one removal at a time until every block is ranked; `score` is the distance, `loss` that of `objective`.
 */
export async function* finerCut(
  model: Model,
  objective: Objective,
  distance: Objective,
  { kinds = kindsOf(model), order = 'forward', freeze, signal }: FinerCutOptions = {},
): AsyncGenerator<PruningStep, void> {
  const all = remainingBlocks(model, emptyPlan, kinds)
  const isFrozen = ({ layer }: Block) => freeze !== undefined && layer <= Math.floor((all.length * freeze) / 2)
  const thaw = Math.floor(all.length * (freeze ?? 0)) + 1
  const sorted = order === 'names' ? byName(all) : all
  let candidates = sorted.filter((block) => !isFrozen(block))
  let frozen = sorted.filter(isFrozen)
  let plan: PruningPlan = emptyPlan
  while (candidates.length + frozen.length > 0) {
    if (plan.blocks.length === thaw || candidates.length === 0) {
      candidates = [...candidates, ...frozen]
      frozen = []
    }
    const distances = await distance.evaluate(
      candidates.map(({ id }) => withoutBlock(plan, id)),
      signal,
    )
    const scores = candidates.map(({ id }, i) => ({ block: id, loss: distances[i]! }))
    const chosen = best(scores, plan.blocks.length + 1)
    const runnerUp = lowest(scores.filter((score) => score !== chosen))
    plan = withoutBlock(plan, chosen.block)
    candidates = candidates.filter(({ id }) => id !== chosen.block)
    const [loss = Number.NaN] = await objective.evaluate([plan], signal)
    yield {
      plan,
      removed: [chosen.block],
      loss: finite(loss, [chosen.block]),
      score: chosen.loss,
      ...(runnerUp && { runnerUp }),
    }
  }
}

const moduleNames: Record<BlockKind, string> = {
  attention: 'self_attn.o_proj',
  crossAttention: 'encoder_attn.o_proj',
  mlp: 'mlp.down_proj',
}

/** Sorted by the names that the released code gives them: layer 10 before layer 2, mlp before attention. */
function byName(blocks: readonly Block[]): Block[] {
  const named = blocks.map((block) => ({
    block,
    name: `${block.stack}.layers.${block.layer}.${moduleNames[block.kind]}`,
  }))
  named.sort((a, b) => (a.name < b.name ? -1 : 1))
  return named.map(({ block }) => block)
}
