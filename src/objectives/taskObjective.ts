import type { Task } from '../model/task.ts'
import type { Engine, LossArithmetic, RowObjective, TokenRows } from '../types.ts'
import { hiddenDistanceObjective } from './hiddenDistance.ts'
import { perplexityObjective } from './perplexity.ts'

export interface TaskObjectiveOptions {
  /** A target id that is not counted when predicting the next token. */
  readonly ignored?: number | undefined
  readonly arithmetic?: LossArithmetic | undefined
}

/** The loss of a task on rows that were prepared for it (`data/prepareRows.ts`). */
export function taskObjective(
  task: Task,
  engine: Engine,
  rows: TokenRows,
  options: TaskObjectiveOptions = {},
): RowObjective {
  return objectives[task](engine, rows, options)
}

const objectives: Record<Task, (engine: Engine, rows: TokenRows, options: TaskObjectiveOptions) => RowObjective> = {
  nextToken: (engine, rows, options) => perplexityObjective(engine, rows, options),
  maskedToken: (engine, rows) =>
    perplexityObjective(engine, rows, { measure: 'masked-lm', unit: 'nats per masked token' }),
  rowClass: (engine, rows) => perplexityObjective(engine, rows, { measure: 'classification', unit: 'nats per row' }),
  spanCorruption: (engine, rows) =>
    perplexityObjective(engine, rows, { measure: 'span-corruption', unit: 'nats per target token' }),
  pairs: (engine, rows) => perplexityObjective(engine, rows, { measure: 'pairs', unit: 'nats per target token' }),
  hiddenStates: (engine, rows) => hiddenDistanceObjective(engine, rows),
}
