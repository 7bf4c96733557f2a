import type { Engine } from '../measures/measurement.ts'
import { type Task, taskLosses } from '../model/task.ts'
import type { LossArithmetic, RowObjective, TokenRows } from '../types.ts'
import { hiddenDistanceObjective } from './hiddenDistance.ts'
import { perplexityObjective } from './perplexity.ts'

export interface TaskObjectiveOptions {
  /** A target id that is not counted when predicting the next token. */
  readonly ignored?: number | undefined
  readonly arithmetic?: LossArithmetic | undefined
}

/** The loss of a task on rows that were prepared for it (`data/taskRows.ts`). */
export function taskObjective(
  task: Task,
  engine: Engine,
  rows: TokenRows,
  options: TaskObjectiveOptions = {},
): RowObjective {
  return objectives[task](engine, rows, options)
}

const objectives: Record<Task, (engine: Engine, rows: TokenRows, options: TaskObjectiveOptions) => RowObjective> = {
  // rows with targets say themselves what counts
  nextToken: (engine, rows, { ignored, arithmetic }) =>
    perplexityObjective(engine, rows, { arithmetic, ignored: rows.targets === undefined ? ignored : undefined }),
  maskedToken: (engine, rows) => perplexityObjective(engine, rows, taskLosses.maskedToken),
  rowClass: (engine, rows) => perplexityObjective(engine, rows, taskLosses.rowClass),
  spanCorruption: (engine, rows) => perplexityObjective(engine, rows, taskLosses.spanCorruption),
  pairs: (engine, rows) => perplexityObjective(engine, rows, taskLosses.pairs),
  hiddenStates: (engine, rows) => hiddenDistanceObjective(engine, rows),
}
