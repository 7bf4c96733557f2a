import type { Model } from '../model/model.ts'
import type { Task } from '../model/task.ts'
import type { Budget } from '../run/budget.ts'

/** Measured: the table of searches in docs/benchmarks.md. */
export const whatAFifthDid =
  '0.2 took SmolLM2-135M from a held-out perplexity of 64 to 169: small models have little to spare'

/** Parameters below which a model is as small as the one that was measured, give or take. */
const small = 5e8

/** What somebody who asks for much of a small model should know before the run; undefined where there is nothing to say. */
export function warningOfRatio(model: Pick<Model, 'parameters'>, task: Task, budget: Budget): string | undefined {
  const isMuch = 'ratio' in budget && budget.ratio >= 0.15
  return isMuch && task === 'nextToken' && model.parameters < small ? `a ratio of ${whatAFifthDid}` : undefined
}
