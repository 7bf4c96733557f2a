import type { RowObjective } from '../types.ts'

/**
 * The plain mean of several objectives on the same rows, value by value; all of them should count the same unit, as perplexity,
 * KL and Jensen-Shannon count nats per token. A row that has no value under one of them has none.
 */
export function meanObjective(objectives: readonly RowObjective[]): RowObjective {
  const [first, ...others] = objectives
  if (first === undefined) throw new RangeError('a mean of objectives needs at least one')
  if (others.length === 0) return first
  const combine = (values: Float64Array) => {
    const counted = values.filter((value) => !Number.isNaN(value))
    return counted.reduce((total, value) => total + value, 0) / counted.length
  }
  return {
    measure: `mean of ${objectives.map(({ measure }) => measure).join(' and ')}`,
    unit: first.unit,
    rows: first.rows,
    combine,
    async evaluate(plans, signal) {
      return (await this.evaluateRows(plans, { signal })).map((values) => combine(values))
    },
    async evaluateRows(plans, { onRows, ...options } = {}) {
      const parts: Float64Array[][] = []
      const measured = new Set<number>()
      const follow = (plan: number, _: Float64Array, recalled = false) => void (recalled || measured.add(plan))
      for (const objective of objectives) {
        parts.push(await objective.evaluateRows(plans, { ...options, onRows: follow }))
      }
      return plans.map((_, plan) => {
        const values = parts[0]![plan]!.map((_, row) => mean(parts.map((part) => part[plan]![row]!)))
        onRows?.(plan, values, !measured.has(plan))
        return values
      })
    },
  }
}

function mean(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0) / values.length
}
