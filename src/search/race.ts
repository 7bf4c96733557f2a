import type { PruningPlan, RowObjective, StopSignal } from '../types.ts'

/** Values of the first rows of a plan, as many as it was tried on. */
export interface Runner {
  readonly index: number
  readonly values: Float64Array
}

export interface RaceResult {
  /** Every plan with what was measured of it: all rows for those that reached the end, the first rows for the others. */
  readonly runners: readonly Runner[]
  /** Those measured on all rows in one piece, the best first. */
  readonly finalists: readonly (Runner & { readonly loss: number })[]
}

export interface RaceOptions {
  /** Values of all rows of the plan to beat; absent: the best of the runners so far. */
  readonly leader?: Float64Array | undefined
  /** The plan that all runners differ little from. */
  readonly prefix?: PruningPlan | undefined
  readonly signal?: StopSignal | undefined
}

/** Standard errors behind the leader at which a plan leaves the race. */
const z = 2

/**
 * Racing (Maron and Moore 1994) on paired differences: all plans are tried on the first quarter of the rows, those still in the
 * race on the second, and what is left on all rows at once. With d_r = value of a plan − value of the leader on the same row r,
 *
 *     a plan leaves when  mean(d) > z · sd(d)/√n,  or when it is not among the better third of those that ran the lap.
 *
 * The same tokens for both make sd(d) small beside the spread of the rows. Fewer than four rows are not divided.
 */
export async function race(
  objective: RowObjective,
  plans: readonly PruningPlan[],
  { leader, prefix, signal }: RaceOptions = {},
): Promise<RaceResult> {
  const runners: Runner[] = plans.map((_, index) => ({ index, values: new Float64Array(0) }))
  let running = runners.map(({ index }) => index)
  const measure = (range?: readonly [number, number]) =>
    objective.evaluateRows(
      running.map((index) => plans[index]!),
      { range, prefix, signal },
    )
  for (const range of quarters(objective).length > 1 ? quarters(objective).slice(0, 2) : []) {
    if (running.length === 0) break
    const measured = await measure(range)
    for (const [i, index] of running.entries()) {
      runners[index] = { index, values: joined(runners[index]!.values, measured[i]!) }
    }
    const ranked = rank(
      running.map((index) => ({ ...runners[index]!, loss: lossOf(objective, runners[index]!.values) })),
    )
    const first = leader ?? ranked[0]?.values
    running = ranked
      .slice(0, Math.ceil(running.length / 3))
      .filter(({ values }) => first !== undefined && !isBehind(values, first))
      .map(({ index }) => index)
  }
  if (running.length === 0) return { runners, finalists: [] }
  const whole = await measure()
  for (const [i, index] of running.entries()) runners[index] = { index, values: whole[i]! }
  const finalists = rank(
    running.map((index) => ({ ...runners[index]!, loss: lossOf(objective, runners[index]!.values) })),
  )
  return { runners, finalists }
}

/** The first quarter of the rows; all of fewer than four. */
export function quarterOf({ rows }: Pick<RowObjective, 'rows'>): readonly [number, number] {
  return quarters({ rows })[0]!
}

/** The rows in quarters, the last the smallest; fewer than four in one piece. */
export function quarters({ rows }: Pick<RowObjective, 'rows'>): (readonly [number, number])[] {
  if (rows < 4) return [[0, rows]]
  const size = Math.ceil(rows / 4)
  return [0, 1, 2, 3]
    .map((i) => [i * size, Math.min(rows, (i + 1) * size)] as const)
    .filter(([start, end]) => start < end)
}

/** Finite losses only, the lowest first, the first of equals first. */
function rank<Scored extends { readonly index: number; readonly loss: number }>(scored: readonly Scored[]): Scored[] {
  return scored.filter(({ loss }) => Number.isFinite(loss)).toSorted((a, b) => a.loss - b.loss || a.index - b.index)
}

function lossOf(objective: RowObjective, values: Float64Array): number {
  return objective.combine(values, 0)
}

/** mean(d) > z · sd(d)/√n over the rows that both have. */
function isBehind(values: Float64Array, leader: Float64Array): boolean {
  const d = [...values].map((value, row) => value - leader[row]!).filter((difference) => !Number.isNaN(difference))
  const mean = d.reduce((total, value) => total + value, 0) / d.length
  const variance = d.reduce((total, value) => total + (value - mean) ** 2, 0) / Math.max(1, d.length - 1)
  return mean > z * Math.sqrt(variance / d.length)
}

function joined(a: Float64Array, b: Float64Array): Float64Array {
  const whole = new Float64Array(a.length + b.length)
  whole.set(a)
  whole.set(b, a.length)
  return whole
}
