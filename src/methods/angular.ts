import { EngineError, PlanError } from '../errors.ts'
import type { Engine } from '../measures/measurement.ts'
import { layersOf } from '../model/layers.ts'
import type { Model } from '../model/model.ts'
import { emptyPlan } from '../model/plan.ts'
import { withoutBlocks } from '../search/candidates.ts'
import type { BlockId, Objective, PruningPlan, TokenRows } from '../types.ts'
import { lowest } from './greedy.ts'
import { defineMethod, type LoopOptions, type Steps } from './method.ts'
import { finite, named } from './removeInOrder.ts'
import { spanSimilarities } from './spanSimilarities.ts'
import { checkWholeLayers, mayGo, unitsOf } from './units.ts'

export const method = defineMethod({
  name: 'angular',
  role: 'method',
  title: 'Contiguous layers by angular distance',
  paper: 'arXiv:2403.17887',
  unit: 'run of layers',
  cost: '1 pass, one shot',
  note: 'takes one run of adjacent layers of one stack, as long as the budget needs',
  options: {},
  takesLayers: () => true,
  endsItself: true,
  removable({ model, ...scope }) {
    checkWholeLayers('angular', scope.kinds)
    return unitsOf(model, 'layer', scope).flat()
  },
  run: ({ model, objective, engine, rows, ...context }) => angular(model, objective, engine, rows, context),
})

export interface AngularOptions extends LoopOptions {
  /** Whether a plan removes enough. The method removes one run of layers, so it must know how long. */
  readonly isReached: (plan: PruningPlan) => boolean
}

/**
 * The unreasonable ineffectiveness of the deeper layers (arXiv:2403.17887): n adjacent layers go, where they turn the stream least.
 *
 *     d(l, n) = mean over rows of arccos( cos( x_l, x_{l+n} ) ) / π  at the last token;  l* = argmin over l of d(l, n)
 *
 * n is the smallest length that reaches the budget wherever in its stack the run begins. The run may begin at layer 0, which the unofficial code
 * arcee-ai/PruneMe never considers. One forward pass, one step; nothing is retrained here.
 */
export async function* angular(
  model: Model,
  objective: Objective,
  engine: Engine,
  rows: TokenRows,
  options: AngularOptions,
): Steps {
  const { start = emptyPlan, signal } = options
  const runs = shortestRuns(model, options)
  const spans = runs.map((blocks) => [blocks[0]!, blocks.at(-1)!] as const)
  const angles = await spanSimilarities(engine, rows, { spans, by: 'lastAngle' }, signal)
  const scores = runs.map((blocks, i) => ({ blocks, loss: mean(angles[i]!) }))
  const chosen = lowest(scores)
  if (chosen === undefined) {
    throw new EngineError(`${model.id}: no run of layers has an angle that is a number; is the checkpoint damaged?`)
  }
  const runnerUp = lowest(scores.filter((score) => score !== chosen))
  const plan = withoutBlocks(start, chosen.blocks)
  const [loss = Number.NaN] = await objective.evaluate([plan], signal)
  yield {
    plan,
    removed: chosen.blocks,
    loss: finite(loss, chosen.blocks),
    score: chosen.loss,
    ...(runnerUp && { runnerUp: named(runnerUp.blocks, runnerUp.loss) }),
  }
}

/** Of each stack all runs of the smallest number of adjacent layers that reaches the budget everywhere in it. */
function shortestRuns(model: Model, options: AngularOptions): BlockId[][] {
  const { start = emptyPlan, isReached } = options
  const layers = layersOf(model)
  const stacks = [...new Set(layers.map(({ stack }) => stack))]
  const runs = stacks.flatMap((stack) => {
    const own = layers.filter((layer) => layer.stack === stack)
    const runsOf = (n: number) =>
      mayGo(
        Array.from({ length: own.length - n + 1 }, (_, first) =>
          own.slice(first, first + n).flatMap(({ blocks }) => blocks.map(({ id }) => id)),
        ),
        options,
      )
    const lengths = own.map((_, i) => i + 1)
    const n = lengths.find((length) => runsOf(length).every((blocks) => isReached(withoutBlocks(start, blocks))))
    return n === undefined ? [] : runsOf(n)
  })
  if (runs.length > 0) return runs
  throw new PlanError(
    `${model.id}: no run of its ${layers.length} layers in one stack reaches the budget, and this method removes one run; ask for less`,
  )
}

const mean = (values: Float64Array) => values.reduce((total, value) => total + value, 0) / values.length
