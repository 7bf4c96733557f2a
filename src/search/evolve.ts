import { defineMethod, type LoopOptions, type Steps } from '../methods/method.ts'
import { singleRemovable } from '../methods/units.ts'
import type { Model } from '../model/model.ts'
import { planKey, removedParameters } from '../model/plan.ts'
import { Random } from '../tensor/random.ts'
import type { PruningPlan, RowObjective } from '../types.ts'
import { type Moves, movesFor, withoutBlocks, withoutRestored } from './candidates.ts'
import { firstPasses, firstSteps } from './firstSteps.ts'
import { race } from './race.ts'

export const search = defineMethod({
  name: 'evolve',
  role: 'search',
  title: 'EvoPress',
  paper: 'arXiv:2410.14649',
  unit: 'block',
  cost: 'fast, then 24 plans on a quarter of the rows a generation',
  options: {
    start: {
      type: 'choice',
      choices: ['fast', 'exact'],
      default: 'fast',
      orPlan: true,
      says: 'the search whose plan is improved, or a plan.json to improve, whose blocks may come back',
    },
    generations: { type: 'number', from: 1, to: 1e6, whole: true, default: 60, says: 'generations of plans' },
  },
  // a generation: 24 mutants on a quarter of the rows, a third of them on the next, three on all
  passes: (scale, { start, generations }) => firstPasses(scale, start) + generations * 5.5,
  removable: singleRemovable,
  endsItself: true,
  run: ({ model, objective, ...context }, { start, generations }) =>
    evolve(model, objective, { ...context, from: firstSteps({ model, objective, ...context }, start), generations }),
})

export interface EvolveOptions extends LoopOptions {
  /** The search whose result is the first parent; its steps are yielded up to the budget. */
  readonly from: Steps
  readonly isReached: (plan: PruningPlan) => boolean
  readonly seed: number
  /** λ: mutants of a generation. */
  readonly offspring?: number | undefined
  readonly generations?: number | undefined
  /** What may go and come back at once; default single blocks. */
  readonly moves?: Moves | undefined
}

/** Draws of mutants that were all seen before, after which a generation is as large as it gets. */
const drawsPerMutant = 4

/**
 * EvoPress (arXiv:2410.14649; code IST-DASLab/EvoPress): (1+λ) evolution at a constant budget. A mutant of the parent P is
 *
 *     remove n = min(U{1..3}, U{1..3}) random blocks, then put random removed blocks back as long as the parameters allow.
 *
 * Their states have a fixed number of attentions and of mlps; here the budget is the parameters of the start, so that an mlp
 * may go for two or three attentions. Mutants race on growing numbers of rows against the parent (`race.ts`), which stays
 * unless one is better on all rows (elitist); theirs draw new rows each round, here they are the same, so that a generation can
 * be resumed. Nothing is evaluated twice. The loss never rises; the last plan is the best.
 */
export async function* evolve(
  model: Model,
  objective: RowObjective,
  { from, isReached, seed, offspring = 24, generations = 60, moves: given, ...options }: EvolveOptions,
): Steps {
  const { signal } = options
  const moves = given ?? movesFor(model, options)
  let parent: PruningPlan | undefined
  for await (const step of from) {
    yield step
    parent = step.plan
    if (isReached(parent)) break
  }
  if (parent === undefined || !isReached(parent)) return
  const least = removedParameters(model, parent)
  const isAllowed = (plan: PruningPlan) => isReached(plan) && removedParameters(model, plan) >= least
  const random = new Random(seed)
  const seen = new Set([planKey(parent)])
  let [values] = await objective.evaluateRows([parent], { signal })
  let loss = objective.combine(values!)
  for (let generation = 0; generation < generations; generation++) {
    const mutants: PruningPlan[] = []
    for (let draw = 0; draw < offspring * drawsPerMutant && mutants.length < offspring; draw++) {
      const mutant = mutate(parent, moves, isAllowed, random)
      if (!isAllowed(mutant) || seen.has(planKey(mutant))) continue
      seen.add(planKey(mutant))
      mutants.push(mutant)
    }
    if (mutants.length === 0) return
    const { finalists } = await race(objective, mutants, { leader: values, prefix: parent, signal })
    const [best] = finalists
    if (best === undefined || best.loss >= loss) continue
    const plan: PruningPlan = mutants[best.index]!
    const removed = plan.blocks.filter((id) => !parent!.blocks.includes(id))
    const restored = parent.blocks.filter((id) => !plan.blocks.includes(id))
    parent = plan
    values = best.values
    loss = best.loss
    yield { plan, removed, restored, loss }
  }
}

function mutate(
  parent: PruningPlan,
  { removals, restorations }: Moves,
  isAllowed: (plan: PruningPlan) => boolean,
  random: Random,
): PruningPlan {
  const moves = Math.min(1 + random.below(3), 1 + random.below(3))
  let plan = parent
  for (let i = 0; i < moves; i++) {
    const open = removals(plan)
    if (open.length > 0) plan = withoutBlocks(plan, open[random.below(open.length)]!)
  }
  for (;;) {
    const fitting = restorations(plan)
      .map((blocks) => withoutRestored(plan, blocks))
      .filter(isAllowed)
    if (fitting.length === 0) return plan
    plan = fitting[random.below(fitting.length)]!
  }
}
