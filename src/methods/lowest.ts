import { EngineError } from '../errors.ts'

/** The first of `scores` with the lowest finite loss, undefined when none is finite: strict <, so a NaN never wins. */
export function lowest<Scored extends { readonly loss: number }>(scores: readonly Scored[]): Scored | undefined {
  let best: Scored | undefined
  for (const score of scores) {
    if (score.loss < (best?.loss ?? Number.POSITIVE_INFINITY)) best = score
  }
  return best
}

/** The lowest of the candidates of step `step`. Throws `EngineError` when none has a finite loss. */
export function best<Scored extends { readonly loss: number }>(scores: readonly Scored[], step: number): Scored {
  const found = lowest(scores)
  if (found !== undefined) return found
  throw new EngineError(
    `step ${step}: all ${scores.length} candidates have a loss that is no number; ` +
      'is the model damaged beyond what was removed?',
  )
}
