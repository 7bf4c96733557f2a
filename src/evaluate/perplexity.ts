import { type Engine, measureOn } from '../measures/measurement.ts'
import { predictedTokens } from '../objectives/perplexity.ts'
import type { PruningPlan, StopSignal, TokenRows } from '../types.ts'

/** How well a model predicts a text. */
export interface PerplexityReport {
  /** exp(all nats / all predicted tokens) */
  readonly tokenPooled: number
  /** exp(mean over rows of the row's mean loss), what the papers' searches compare */
  readonly sequenceMean: number
  /** Mean loss of a predicted token. */
  readonly natsPerToken: number
  /** Standard error of the mean over rows, nats per token; NaN for a single row. */
  readonly standardError: number
  readonly predictedTokens: number
  readonly rows: number
  readonly rowLength: number
}

/** Perplexities of the model without what `plan` removes, both ways of averaging, with the error of the mean. */
export async function measurePerplexity(
  engine: Engine,
  rows: TokenRows,
  plan: PruningPlan,
  signal?: StopSignal,
): Promise<PerplexityReport> {
  const [sums] = await measureOn(engine, rows, { plans: [plan], measure: { name: 'tokenLoss' } }, { signal })
  return perplexityReport(sums!, rows)
}

/** The report of rows whose losses, nats summed over the row, are `sums`. */
export function perplexityReport(sums: Float64Array, rows: TokenRows): PerplexityReport {
  const counts = predictedTokens(rows)
  const means = [...sums].map((sum, row) => sum / counts[row]!)
  const mean = means.reduce((total, value) => total + value, 0) / means.length
  const variance = means.reduce((total, value) => total + (value - mean) ** 2, 0) / (means.length - 1)
  const tokens = counts.reduce((total, count) => total + count, 0)
  const natsPerToken = sums.reduce((total, sum) => total + sum, 0) / tokens
  return {
    tokenPooled: Math.exp(natsPerToken),
    sequenceMean: Math.exp(mean),
    natsPerToken,
    standardError: Math.sqrt(variance / means.length),
    predictedTokens: tokens,
    rows: rows.rows,
    rowLength: rows.rowLength,
  }
}
