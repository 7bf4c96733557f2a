import { PlanError } from '../errors.ts'
import { shownLoss, type Task, taskLosses } from '../model/task.ts'

/** One state of a run: the model after so many steps. */
export interface CurvePoint {
  readonly step: number
  /** Share of all parameters removed, 0..1. */
  readonly ratio: number
  readonly parameters: number
  /** Nats per token, or what the task counts. */
  readonly loss: number
  /** Of the mean over rows, where it is known. */
  readonly standardError?: number | undefined
}

/** The states of a run in order of its steps, the dense model first. */
export interface Series {
  readonly name: string
  readonly points: readonly CurvePoint[]
}

/** Runs of one model, measured on one text. */
export interface RunComparison {
  /** Model and text, for a heading. */
  readonly title: string
  readonly task: Task
  readonly series: readonly Series[]
  /** What to know about the choice of the text. */
  readonly note?: string | undefined
}

/** For each share the state of each run that is to be compared at it; undefined where a run did not get so far. */
export interface ComparedRow {
  /** At least this share of the parameters is gone, 0..1. */
  readonly share: number
  readonly points: readonly (CurvePoint | undefined)[]
}

/**
 * The runs side by side: for each of `shares` the first state of each run that has lost at least as much, so that no model in a row
 * is larger than the row says. Every number was measured; nothing is interpolated. Default shares are every 5 % that all runs
 * reach, or every 1 % where none does. Throws `PlanError` for a share that no run reaches.
 */
export function compareAt({ series }: RunComparison, shares?: readonly number[]): ComparedRow[] {
  const rows = (shares ?? defaultShares(series)).map((share) => ({
    share,
    points: series.map(({ points }) => reaching(points, share)),
  }))
  const empty = rows.find(({ points }) => points.every((point) => point === undefined))
  if (empty === undefined) return rows
  const most = Math.max(...series.map(furthest))
  throw new PlanError(
    `--at ${empty.share}: no run removed so much, expected shares of at most ${most.toFixed(3)} of the parameters`,
  )
}

/** The state with the fewest parameters gone among those that have lost at least `share`. */
function reaching(points: readonly CurvePoint[], share: number): CurvePoint | undefined {
  const enough = points.filter(({ ratio }) => ratio >= share - 1e-9)
  return enough.reduce<CurvePoint | undefined>(
    (best, point) => (best && best.ratio <= point.ratio ? best : point),
    undefined,
  )
}

function defaultShares(series: readonly Series[]): number[] {
  const common = Math.min(...series.map(furthest))
  const every = common >= 0.05 ? 0.05 : 0.01
  const count = Math.floor(common / every + 1e-9)
  return Array.from({ length: count + 1 }, (_, i) => Number((i * every).toFixed(2)))
}

const furthest = ({ points }: Series): number => Math.max(...points.map(({ ratio }) => ratio))

/** The cells of a table, the heading first: a share a line, a run a column, each with the share that is really gone. */
export function cellsOf({ task, series }: RunComparison, rows: readonly ComparedRow[]): string[][] {
  const percent = (share: number) => `${(share * 100).toFixed(1)} %`
  const cell = (point: CurvePoint | undefined) =>
    point === undefined ? '—' : `${shownLoss(task, point.loss)} (${percent(point.ratio)})`
  return [
    [`${taskLosses[task].name} at`, ...series.map(({ name }) => name)],
    ...rows.map(({ share, points }) => [percent(share), ...points.map(cell)]),
  ]
}
