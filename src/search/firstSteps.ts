import { greedyPasses } from '../methods/greedy.ts'
import type { MethodContext, Scale, Steps } from '../methods/method.ts'
import { search as exact } from './exact.ts'
import { search as fast, fastPasses } from './fast.ts'

/** The search that `swap` and `evolve` improve on. */
export function firstSteps(context: MethodContext, name: 'fast' | 'exact'): Steps {
  return { fast, exact }[name].run(context, {})
}

/** The passes that it takes. */
export function firstPasses(scale: Scale, name: 'fast' | 'exact'): number {
  return name === 'fast' ? fastPasses(scale) : greedyPasses(scale.blocks, scale.steps)
}
