import { type Engine, measureOn } from '../src/measures/measurement.ts'
import type { Measures } from '../src/measures/registry.ts'
import type { BlockId, PruningPlan, TokenRows } from '../src/types.ts'

type Options<Name extends keyof Measures> = Measures[Name]['options']

/** What tests ask of an engine, a line each. */
export const tokenLosses = (
  engine: Engine,
  rows: TokenRows,
  plans: readonly PruningPlan[],
  options: Options<'tokenLoss'> = {},
) => measureOn(engine, rows, { plans, measure: { name: 'tokenLoss', ...options } })

export const hiddenDistances = (
  engine: Engine,
  rows: TokenRows,
  plans: readonly PruningPlan[],
  options: Options<'hiddenDistance'>,
) => measureOn(engine, rows, { plans, measure: { name: 'hiddenDistance', ...options } })

export const similarities = (engine: Engine, rows: TokenRows, options: Options<'similarity'>) =>
  one(measureOn(engine, rows, { plans: [dense], measure: { name: 'similarity', ...options } }))

export const channelStatistics = (engine: Engine, rows: TokenRows, blocks: readonly BlockId[]) =>
  one(measureOn(engine, rows, { plans: [dense], measure: { name: 'channelStatistics', blocks } }))

export const passSeconds = (
  engine: Engine,
  rows: TokenRows,
  plans: readonly PruningPlan[],
  options: Options<'passSeconds'>,
) => measureOn(engine, rows, { plans, measure: { name: 'passSeconds', ...options } })

export const hiddenStates = (engine: Engine, rows: TokenRows, plan: PruningPlan) =>
  one(measureOn(engine, rows, { plans: [plan], measure: { name: 'hiddenStates' } }))

export const logits = (engine: Engine, rows: TokenRows, plan: PruningPlan) =>
  one(measureOn(engine, rows, { plans: [plan], measure: { name: 'logits' } }))

const dense: PruningPlan = { blocks: [], units: {} }

async function one<Result>(results: Promise<Result[]>): Promise<Result> {
  return (await results)[0]!
}
