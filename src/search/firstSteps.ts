import type { MethodContext, Steps } from '../methods/method.ts'
import { search as exact } from './exact.ts'
import { search as fast } from './fast.ts'

/** The search that `swap` and `evolve` improve on. */
export function firstSteps(context: MethodContext, name: 'fast' | 'exact'): Steps {
  return { fast, exact }[name].run(context, {})
}
