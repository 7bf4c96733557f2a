import { sliceRows } from '../engine/rowsStore.ts'
import { isStockPlan } from '../export/huggingface.ts'
import type { Engine } from '../measures/measurement.ts'
import { withLosses } from '../methods/greedy.ts'
import type { MethodContext, Steps } from '../methods/method.ts'
import { optionsOf, searches } from '../methods/registry.ts'
import { meanObjective } from '../objectives/meanObjective.ts'
import { distanceObjective } from '../objectives/outputDistance.ts'
import { perplexityObjective } from '../objectives/perplexity.ts'
import { type Moves, movesLeaving, singleBlocks } from '../search/candidates.ts'
import { stock } from '../search/stock.ts'
import type { PruningPlan, RowObjective, TokenRows } from '../types.ts'
import { type ForetoldCost, foretell, scaleOf } from './foretell.ts'
import { timerOf } from './latency.ts'
import type { PlanFile } from './planFile.ts'
import type { Prepared } from './prepare.ts'
import { type GivenToMethod, prune, type Timing } from './prune.ts'
import type { AnyPruneRequest } from './pruneRequest.ts'
import type { ObjectiveName } from './searchRequest.ts'

/** Runs the method of a prepared run to its budget; the plan stands in the run directory after every step. */
export async function search(
  prepared: Prepared,
  request: Pick<AnyPruneRequest, 'output' | 'timer' | 'signal' | 'onProgress'>,
): Promise<PlanFile> {
  const { model, engine, method, searching, start, budget, searchRows, checkRows, lossOn, inputs } = prepared
  const { output: directory, signal, onProgress } = request
  return prune({
    model,
    engine,
    start,
    rows: searchRows,
    objective: (journaled) => lossOn(searchRows, journaled),
    check: checkRows && ((journaled) => named('check', lossOn(checkRows, journaled))),
    inputs,
    budget,
    timing: 'speedup' in budget ? timingOf(prepared, request) : undefined,
    directory,
    method: (given) => stepsOf(prepared, request, given),
    foretell: (seconds, isReached) => costOf(prepared, seconds, isReached),
    endsItself: method.endsItself === true || searching.layout === 'stock' || searching.search?.endsItself === true,
    signal,
    onProgress,
  })
}

function costOf(
  { model, method, options, searching, most, searchRows }: Prepared,
  secondsOfPass: number,
  isReached: (plan: PruningPlan) => boolean,
): ForetoldCost {
  const scale = scaleOf(model, most, searchRows.rows, isReached)
  const { search: strategy } = searching
  const chosen = strategy === undefined ? { method, options } : { method: strategy, options: searching.options }
  const others = searches
    .filter((other) => strategy !== undefined && other !== strategy)
    .map((other) => ({ method: other, options: optionsOf(other) }))
  // in kilobytes
  return foretell(chosen, others, scale, secondsOfPass, process.resourceUsage().maxRSS * 1024)
}

function timingOf(
  { method, options, engine, rows, most }: Prepared,
  { timer }: Pick<AnyPruneRequest, 'timer'>,
): Timing {
  const masks = method.masks?.(options) ?? []
  return {
    timer: timer ?? timerOf(engine, sliceRows(rows, [0, 1])),
    rows: 1,
    rowLength: rows.rowLength,
    narrow: masks.some((name) => name === 'channels' || name === 'heads'),
    most,
  }
}

/** The steps of the method, or of the search asked for over its candidates. */
function stepsOf(
  prepared: Prepared,
  { signal }: Pick<AnyPruneRequest, 'signal'>,
  { engine, objective: loss, followed, isReached }: GivenToMethod,
): Steps {
  const { model, method, options, searching, kinds, keep, start, toImprove, searchRows, checkRows, inputs } = prepared
  const compared = objectivesOf(prepared, engine)
  const context: MethodContext = {
    model,
    start,
    kinds,
    keep,
    toImprove,
    objective: loss,
    pooled: followed(pooledLoss(prepared, engine)),
    distance: (measure, chosen) => followed(distanceObjective(engine, searchRows, measure, chosen)),
    moves: movesLeaving(singleBlocks(model, kinds), { keep, start }),
    engine,
    rows: searchRows,
    seed: inputs.seed,
    isReached,
    signal,
  }
  const { search: strategy } = searching
  if (strategy === undefined) return method.run(context, options)
  const own = compared(searchRows)
  const objective = own.measure === loss.measure ? loss : followed(own)
  const run = (moves: Moves) => strategy.run({ ...context, objective, moves }, searching.options)
  if (searching.layout === 'any') return lossesOf(run(context.moves))
  const check = checkRows === undefined ? objective : followed(named('check', compared(checkRows)))
  const within = (moves: Moves) => run(movesLeaving(moves, { keep, start }))
  const isStock = (plan: PruningPlan) => isStockPlan(model, plan)
  return lossesOf(stock(model, check, { search: within, isReached, isStock, signal }))

  function lossesOf(steps: Steps): Steps {
    return objective === loss ? steps : withLosses(steps, loss, signal)
  }
}

function pooledLoss({ searchRows, ignored, inputs }: Prepared, engine: Engine): RowObjective {
  const arithmetic = inputs.options['arithmetic'] === 'released' ? 'released' : undefined
  return perplexityObjective(engine, searchRows, { ignored, arithmetic, average: 'tokens' })
}

/** What the search compares plans by, on some rows. */
function objectivesOf({ searching, lossOn }: Prepared, engine: Engine): (rows: TokenRows) => RowObjective {
  const objectives: Record<ObjectiveName, (rows: TokenRows) => RowObjective> = {
    perplexity: (rows) => lossOn(rows, engine),
    kl: (rows) => distanceObjective(engine, rows, 'kl'),
    js: (rows) => distanceObjective(engine, rows, 'js'),
  }
  return (rows) => meanObjective(searching.objectives.map((name) => objectives[name](rows)))
}

/** `objective` under another name in what a run tells of it. */
function named(prefix: string, objective: RowObjective): RowObjective {
  return { ...objective, measure: `${prefix} ${objective.measure}` }
}
