import type { PruningPlan, RowObjective } from '../types.ts'
import type { Journal } from './journal.ts'

/** What a progress display learns of one evaluation. */
export interface Evaluation {
  /** How many plans of the current call are done, this one included. */
  readonly done: number
  readonly of: number
  readonly plan: PruningPlan
  readonly loss: number
  /** What `loss` counts. */
  readonly unit: string
  /** What was measured, as the journal calls it. */
  readonly measure: string
  /** Of all rows, those that `loss` has seen, 0..1. */
  readonly share: number
  /** Read from the journal instead of evaluated. */
  readonly recalled: boolean
}

/** `objective` behind a journal: nothing is evaluated twice, and what was evaluated is on disk before it counts. */
export function journaledObjective(
  objective: RowObjective,
  journal: Journal,
  onEvaluation: (evaluation: Evaluation) => void = () => {},
): RowObjective {
  return {
    ...objective,
    async evaluate(plans, signal) {
      return (await this.evaluateRows(plans, { signal })).map((values) => objective.combine(values))
    },
    async evaluateRows(plans, { range = [0, objective.rows] as const, prefix, signal, onRows } = {}) {
      const isWhole = range[0] === 0 && range[1] === objective.rows
      const measure = isWhole ? objective.measure : `${objective.measure}[${range.join(':')}]`
      const results = plans.map((plan) => journal.recall(measure, plan))
      let done = 0
      const report = (plan: number, values: Float64Array, recalled: boolean) => {
        done += 1
        onRows?.(plan, values)
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
      }
      for (const [plan, values] of results.entries()) if (values !== undefined) report(plan, values, true)
      const missing = [...plans.keys()].filter((plan) => results[plan] === undefined)
      await objective.evaluateRows(
        missing.map((plan): PruningPlan => plans[plan]!),
        {
          range,
          prefix,
          signal,
          onRows(index, values) {
            const plan = missing[index]!
            journal.append(measure, plans[plan]!, values)
            results[plan] = values
            report(plan, values, false)
          },
        },
      )
      return results as Float64Array[]
    },
  }
}
