import { greedyPasses } from '../methods/greedy.ts'
import type { MethodContext, Scale, Steps } from '../methods/method.ts'
import { isPlanPath, type PlanPath } from '../methods/options.ts'
import { search as exact } from './exact.ts'
import { search as fast, fastPasses } from './fast.ts'

/** A search whose plan others improve, or the plan that a run was given. */
type Start = 'fast' | 'exact' | PlanPath

/** The steps that `swap` and `evolve` improve on. */
export function firstSteps(context: MethodContext, start: Start): Steps {
  if (isPlanPath(start)) return givenStep(context)
  return start === 'fast' ? fast.run(context, { floating: false }) : exact.run(context, {})
}

/** The passes that they take. */
export function firstPasses(scale: Scale, start: Start): number {
  if (isPlanPath(start)) return 1
  return start === 'fast' ? fastPasses(scale) : greedyPasses(scale.blocks, scale.steps)
}

/** All that a plan removes, in one step. */
async function* givenStep({ toImprove: plan, objective, signal }: MethodContext): Steps {
  if (plan === undefined) throw new RangeError('the plan to improve was not read')
  const [loss] = await objective.evaluate([plan], signal)
  yield { plan, removed: plan.blocks, loss: loss! }
}
