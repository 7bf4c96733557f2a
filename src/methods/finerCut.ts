import { PlanError } from '../errors.ts'
import type { OutputDistance } from '../measures/distanceRecipes.ts'
import { kindsOf } from '../model/kinds.ts'
import type { Model } from '../model/model.ts'
import { emptyPlan, remainingBlocks } from '../model/plan.ts'
import type { Candidates } from '../search/candidates.ts'
import type { Block, BlockKind, Objective } from '../types.ts'
import { greedy, greedyPasses, withLosses } from './greedy.ts'
import { defineMethod, type LoopOptions, type Steps } from './method.ts'
import { mayGo, singleRemovable } from './units.ts'

/** The distances that can be told from the probabilities of a few words. */
const divergences: readonly OutputDistance[] = ['js', 'kl', 'js_reversed', 'official_kl']

export const method = defineMethod({
  name: 'finercut',
  role: 'method',
  title: 'FinerCut',
  paper: 'arXiv:2405.18218',
  unit: 'block',
  cost: 'n passes and 2 heads each a step (1 with --top-k), greedy; keeps rows x tokens x D x 4 bytes (k x 12)',
  options: {
    distance: {
      type: 'choice',
      choices: ['js', 'kl', 'angular', 'euclidean', 'js_reversed', 'official_kl', 'official_angular', 'official_norm'],
      default: 'js',
      says: "distance of the predictions from the dense model's; js_reversed and official_* as the released code has them",
    },
    order: {
      type: 'choice',
      choices: ['forward', 'names'],
      default: 'forward',
      says: 'which of equal candidates wins; names: sorted as text, as in the released code',
    },
    'top-k': {
      type: 'number',
      from: 1,
      to: 1e6,
      whole: true,
      says: `tell only the k likeliest words of the dense model apart, for ${divergences.join(', ')}: faster, and never more than the distance`,
    },
    freeze: {
      type: 'number',
      from: 0,
      to: 1,
      says: 'x: the first n·x/2 layers stay until n·x of the n blocks are gone (0.4 in the released example)',
    },
  },
  check({ distance, 'top-k': topK }) {
    if (topK === undefined || divergences.includes(distance)) return
    throw new PlanError(
      `--top-k ${topK}: --distance ${distance} needs all logits, expected one of ${divergences.join(', ')}; leave one of them out`,
    )
  },
  keeps: ({ sizes }, { rows, rowLength, decoder }, { 'top-k': topK }) =>
    rows * (decoder?.rowLength ?? rowLength) * (topK === undefined ? sizes['D']! * 4 : topK * 12),
  // the second head and the distance cost about as much as the blocks that a candidate does not share
  passes: ({ blocks, steps }, { 'top-k': topK }) => greedyPasses(blocks, steps) * (topK === undefined ? 2 : 1) + steps,
  removable: singleRemovable,
  searchInstead: 'for FinerCut by a fast search take --method blockpruner --objective js',
  run: ({ model, objective, distance, ...context }, { distance: measure, 'top-k': topK, ...options }) =>
    finerCut(model, objective, distance(measure, { topK }), { ...context, ...options }),
})

export interface FinerCutOptions extends LoopOptions {
  /** Which of equal distances wins: `forward`, as in BlockPruner, or `names`, the order of module names sorted as text. */
  readonly order?: 'forward' | 'names' | undefined
  /** x, 0..1: the first ⌊n·x/2⌋+1 layers stay until ⌊n·x⌋+1 of the n blocks are gone; absent: no layer is frozen. */
  readonly freeze?: number | undefined
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
export function finerCut(
  model: Model,
  objective: Objective,
  distance: Objective,
  options: FinerCutOptions = {},
): Steps {
  return withLosses(greedy(distance, thawing(model, options), options), objective, options.signal)
}

/** Single blocks, those of the frozen layers last and only once enough others are gone. */
function thawing(model: Model, { order = 'forward', freeze, ...options }: FinerCutOptions): Candidates {
  const blocks = remainingBlocks(model, emptyPlan, options.kinds ?? kindsOf(model))
  const sorted = order === 'names' ? byName(blocks) : blocks
  const isFrozen = ({ layer }: Block) => freeze !== undefined && layer <= Math.floor((blocks.length * freeze) / 2)
  const groups = (of: readonly Block[]) =>
    mayGo(
      of.map(({ id }) => [id]),
      options,
    )
  const [free, frozen] = [groups(sorted.filter((block) => !isFrozen(block))), groups(sorted.filter(isFrozen))]
  const thaw = Math.floor(blocks.length * (freeze ?? 0)) + 1
  return (plan) => {
    const left = (of: typeof free) => of.filter(([id]) => !plan.blocks.includes(id!))
    const open = left(free)
    return plan.blocks.length >= thaw || open.length === 0 ? [...open, ...left(frozen)] : open
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
