import { EngineError } from '../errors.ts'
import { greedyPasses } from '../methods/greedy.ts'
import { defineMethod, type LoopOptions, type Steps } from '../methods/method.ts'
import { named } from '../methods/removeInOrder.ts'
import { singleRemovable } from '../methods/units.ts'
import type { Model } from '../model/model.ts'
import { emptyPlan, planKey } from '../model/plan.ts'
import type { Objective, PruningPlan, PruningStep } from '../types.ts'
import { type Candidates, movesFor, withoutBlocks } from './candidates.ts'

export const search = defineMethod({
  name: 'beam',
  role: 'search',
  title: 'Beam search',
  unit: 'block',
  cost: 'width times n passes a step',
  options: {
    beamWidth: { type: 'number', from: 1, to: 1e4, whole: true, default: 3, says: 'plans kept after each round' },
  },
  passes: ({ blocks, steps }, { beamWidth }) => beamWidth * greedyPasses(blocks, steps),
  removable: singleRemovable,
  endsItself: true,
  run: ({ model, objective, moves, ...context }, { beamWidth }) =>
    beam(model, objective, { ...context, width: beamWidth, candidates: moves.removals }),
})

export interface BeamOptions extends LoopOptions {
  /** B: plans kept after each round. */
  readonly width?: number | undefined
  readonly isReached: (plan: PruningPlan) => boolean
  /** What may go in one step; default single blocks of `kinds`. */
  readonly candidates?: Candidates | undefined
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
  { width = 3, isReached, candidates, ...options }: BeamOptions,
): Steps {
  const { start = emptyPlan, signal } = options
  const open = candidates ?? movesFor(model, options).removals
  let front: readonly Branch[] = [{ plan: start, steps: [] }]
  const finished: Branch[] = []
  while (front.length > 0) {
    const children = front.flatMap((parent) =>
      open(parent.plan).map((blocks) => ({ parent, blocks, plan: withoutBlocks(parent.plan, blocks) })),
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
      const runnerUp = second && { runnerUp: named(second.blocks, second.loss) }
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
