import { type Engine, measureOn } from '../measures/measurement.ts'
import { emptyPlan } from '../model/plan.ts'
import type { TokenRows } from '../types.ts'

/** Where the first number of the dense model that is not finite comes from on the first of `rows`: a block, or `the head`. */
export async function firstNonFinite(engine: Engine, rows: TokenRows): Promise<string> {
  const asked = { plans: [emptyPlan], range: [0, 1] as const, measure: { name: 'firstNonFinite' as const } }
  const [where] = await measureOn(engine, rows, asked)
  return where ?? 'the head'
}
