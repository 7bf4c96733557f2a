import type { Engine, Following, Measurement } from '../measures/measurement.ts'
import { type MeasureName, type Measures, measures } from '../measures/registry.ts'
import type { Journal } from './journal.ts'

/**
 * `engine` behind a journal: of the measures that give one number a row nothing is measured twice, and what was measured is on disk
 * before it counts. What is asked is the key: rows by their hash, their range, the measure with its options, and each plan.
 */
export function journaledEngine(engine: Engine, journal: Journal): Engine {
  return {
    put: (rows) => engine.put(rows),
    close: () => engine.close(),
    async measure<M extends MeasureName>(what: Measurement<M>, how: Following = {}): Promise<Measures[M]['result'][]> {
      if (!('journalName' in measures[what.measure.name])) return engine.measure(what, how)
      const { plans, prefix, ...key } = what
      const results = plans.map((plan) => journal.recall(key, plan))
      for (const [plan, values] of results.entries()) if (values !== undefined) how.onRows?.(plan, values, true)
      const missing = [...plans.keys()].filter((plan) => results[plan] === undefined)
      if (missing.length === 0) return results as Measures[M]['result'][]
      await engine.measure(
        { ...what, plans: missing.map((plan) => plans[plan]!) },
        {
          signal: how.signal,
          onRows(index, values) {
            const plan = missing[index]!
            journal.append(key, plans[plan]!, values)
            results[plan] = values
            how.onRows?.(plan, values)
          },
        },
      )
      return results as Measures[M]['result'][]
    },
  }
}
