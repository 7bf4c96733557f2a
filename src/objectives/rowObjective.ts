import type { RowMeasure } from '../measures/machine.ts'
import type { Engine } from '../measures/measurement.ts'
import { type Measures, measures } from '../measures/registry.ts'
import type { RowObjective, TokenRows } from '../types.ts'

/** The measures that give one number a row. */
export type RowMeasureName = {
  [Name in keyof Measures]: (typeof measures)[Name] extends RowMeasure<never> ? Name : never
}[keyof Measures]

export interface RowObjectiveOptions {
  /** How an objective calls itself in a journal and what it counts, where those are not the measure's. */
  readonly measure?: string | undefined
  readonly unit?: string | undefined
  /** The value of row `row` from what the measure says of it; default that. */
  readonly value?: ((measured: number, row: number) => number) | undefined
  /** The loss of all rows from the values of rows `start`, `start + 1`, …; default their mean. */
  readonly combine?: ((values: Float64Array, start?: number) => number) | undefined
}

/** What `asked` measures on `rows`, to be minimised. */
export function rowObjective<Name extends RowMeasureName>(
  engine: Engine,
  rows: TokenRows,
  asked: { readonly name: Name } & Measures[Name]['options'],
  { measure, unit, value, combine = mean }: RowObjectiveOptions = {},
): RowObjective {
  const { name, ...options } = asked
  const described = measures[name] as RowMeasure<unknown>
  return {
    measure: measure ?? described.journalName(options),
    unit: unit ?? described.unit(options),
    rows: rows.rows,
    combine,
    async evaluate(plans, signal) {
      return (await this.evaluateRows(plans, { signal })).map((values) => combine(values))
    },
    async evaluateRows(plans, { range, prefix, signal, onRows } = {}) {
      const start = range?.[0] ?? 0
      // one name for all rows, so that what was measured on them is found again
      const isWhole = range !== undefined && start === 0 && range[1] === rows.rows
      const valuesOf = (measured: Float64Array) =>
        value === undefined ? measured : measured.map((of, i) => value(of, start + i))
      const found = await engine.measure(
        { rows: await engine.put(rows), range: isWhole ? undefined : range, plans, prefix, measure: asked as never },
        { signal, onRows: onRows && ((plan, measured, recalled) => onRows(plan, valuesOf(measured), recalled)) },
      )
      return (found as Float64Array[]).map(valuesOf)
    },
  }
}

/** The mean over rows. */
function mean(values: Float64Array): number {
  return values.reduce((total, value) => total + value, 0) / values.length
}
