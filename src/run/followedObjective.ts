import type { PruningPlan, RowObjective } from '../types.ts'

/** What a progress display learns of one evaluation. */
export interface Evaluation {
  /** How many plans of the current call are done, this one included. */
  readonly done: number
  readonly of: number
  readonly plan: PruningPlan
  readonly loss: number
  /** What `loss` counts. */
  readonly unit: string
  /** What was measured, as the objective calls it. */
  readonly measure: string
  /** Of all rows, those that `loss` has seen, 0..1. */
  readonly share: number
  /** Read from the journal instead of evaluated. */
  readonly recalled: boolean
}

/** `objective`, telling of each plan that is evaluated. */
export function followedObjective(
  objective: RowObjective,
  onEvaluation: (evaluation: Evaluation) => void,
): RowObjective {
  return {
    ...objective,
    async evaluate(plans, signal) {
      return (await this.evaluateRows(plans, { signal })).map((values) => objective.combine(values))
    },
    evaluateRows(plans, options = {}) {
      const { range = [0, objective.rows] as const, onRows } = options
      let done = 0
      return objective.evaluateRows(plans, {
        ...options,
        onRows(plan, values, recalled = false) {
          done += 1
          onRows?.(plan, values, recalled)
          onEvaluation({
            done,
            of: plans.length,
            plan: plans[plan]!,
            loss: objective.combine(values, range[0]),
            unit: objective.unit,
            measure: objective.measure,
            share: (range[1] - range[0]) / objective.rows,
            recalled,
          })
        },
      })
    },
  }
}
