import { EngineError } from '../errors.ts'
import type { Model } from '../model/model.ts'
import { emptyPlan, planKey } from '../model/plan.ts'
import type { BlockKind, Objective, PruningPlan, PruningStep, StopSignal } from '../types.ts'
import { type Candidates, runnerUpOf, singleBlocks, withoutCandidate } from './candidates.ts'

export interface BeamOptions {
  /** B: plans kept after each round. */
  readonly width?: number | undefined
  readonly isReached: (plan: PruningPlan) => boolean
  /** Kinds of blocks that may go; default attention and mlp. */
  readonly kinds?: readonly BlockKind[] | undefined
  /** What may go in one step; default single blocks of `kinds`. */
  readonly candidates?: Candidates | undefined
  readonly signal?: StopSignal | undefined
}

interface Branch {
  readonly plan: PruningPlan
  readonly steps: readonly PruningStep[]
}

/**
 * Beam search: greedy that keeps the B best plans of each round instead of one,
 *
 *     beam ← the B lowest of  { L(M without P ∪ {b}) : P in beam, b ∉ P },  the same set of blocks counted once.
 *
 * A plan that reaches the budget leaves the beam; when none is left, the steps to the lowest of them are yielded, so the first
 * step comes after the last evaluation. B = 1 is the greedy loop, at B times its cost otherwise.
 */
export async function* beam(
  model: Model,
  objective: Objective,
  { width = 3, isReached, kinds, candidates = singleBlocks(model, kinds).removals, signal }: BeamOptions,
): AsyncGenerator<PruningStep, void> {
  let front: readonly Branch[] = [{ plan: emptyPlan, steps: [] }]
  const finished: Branch[] = []
  while (front.length > 0) {
    const children = front.flatMap((parent) =>
      candidates(parent.plan).map((blocks) => ({ parent, blocks, plan: withoutCandidate(parent.plan, blocks) })),
    )
    if (children.length === 0) break
    const distinct = [...new Map(children.toReversed().map((child) => [planKey(child.plan), child])).values()].reverse()
    const losses = await objective.evaluate(
      distinct.map(({ plan }) => plan),
      signal,
    )
    const ranked = distinct
      .map((child, i) => ({ ...child, loss: losses[i]! }))
      .filter(({ loss }) => Number.isFinite(loss))
      .sort((a, b) => a.loss - b.loss)
    if (ranked.length === 0) {
      throw new EngineError(
        `round with ${front[0]!.plan.blocks.length} blocks removed: all ${distinct.length} candidates have a loss that is no ` +
          'number; is the model damaged beyond what was removed?',
      )
    }
    const grown = ranked.slice(0, width).map((child): Branch => {
      const { parent, blocks, plan, loss } = child
      const second = ranked.find((other) => other.parent === parent && other !== child)
      const runnerUp = second && { runnerUp: runnerUpOf(second.blocks, second.loss) }
      return { plan, steps: [...parent.steps, { plan, removed: blocks, loss, ...runnerUp }] }
    })
    finished.push(...grown.filter(({ plan }) => isReached(plan)))
    front = grown.filter(({ plan }) => !isReached(plan))
  }
  const ends = finished.length > 0 ? finished : front
  const [first] = ends.toSorted((a, b) => lossOf(a) - lossOf(b))
  if (first !== undefined) yield* first.steps
}

function lossOf({ steps }: Branch): number {
  return steps.at(-1)?.loss ?? Number.POSITIVE_INFINITY
}
