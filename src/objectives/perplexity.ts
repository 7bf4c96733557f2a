import type { Engine } from '../measures/measurement.ts'
import type { LossArithmetic, Objective, RowObjective, TokenRows } from '../types.ts'
import { rowObjective } from './rowObjective.ts'

export interface PerplexityOptions {
  /** A target id that is not counted: BlockPruner's code takes the padding id of the config where it is not 0. */
  readonly ignored?: number | undefined
  /** How log Σ exp is summed; `precise` unless given. */
  readonly arithmetic?: LossArithmetic | undefined
  /** What the loss averages: each row's mean (default), or all tokens alike, as Shortened LLaMA does. */
  readonly average?: 'rows' | 'tokens' | undefined
  /** Its name in a journal; `perplexity` unless given. */
  readonly measure?: string | undefined
  /** What the losses count; `nats per token` unless given. */
  readonly unit?: string | undefined
}

/**
 * BlockPruner's score: the mean over rows of each row's mean loss over its predicted tokens, nats per token. Its exponential is
 * the sequence-mean perplexity, PPL_seq = exp( (1/B) Σ_i (1/n_i) Σ_t nll_it ). The value of a row is its mean loss; a row
 * without a counted token has none (NaN) and is left out. Where the rows have targets (masked tokens, the words of a decoder, a
 * class), those are what is predicted.
 */
export function perplexityObjective(
  engine: Engine,
  rows: TokenRows,
  { ignored, arithmetic, average = 'rows', measure, unit = 'nats per token' }: PerplexityOptions = {},
): RowObjective {
  const counts = predictedTokens(rows, ignored)
  return rowObjective(
    engine,
    rows,
    { name: 'tokenLoss', ignored, arithmetic },
    {
      measure,
      unit,
      value: (sum, row) => sum / counts[row]!,
      combine(values, start = 0) {
        let [total, weight] = [0, 0]
        for (const [i, value] of values.entries()) {
          const count = counts[start + i]!
          if (count === 0) continue
          const share = average === 'tokens' ? count : 1
          total += value * share
          weight += share
        }
        return total / weight
      },
    },
  )
}

/** The perplexity beside a loss in nats per token; nothing beside a loss that counts something else. */
export function perplexityBeside(loss: number, { unit }: Objective): { readonly perplexity?: number } {
  return unit === 'nats per token' ? { perplexity: Math.exp(loss) } : {}
}

/**
 * How many predictions of each row count: its targets, or T-1 next tokens where it has none, less those equal to `ignored`.
 * What an encoder-decoder predicts are the targets of its decoder.
 */
export function predictedTokens(rows: TokenRows, ignored?: number): number[] {
  const { ids, rows: count, rowLength, targets } = rows.decoder ?? rows
  return Array.from({ length: count }, (_, row) => {
    const [start, end] = [row * rowLength, (row + 1) * rowLength]
    const wanted = targets === undefined ? ids.subarray(start + 1, end) : targets.subarray(start, end)
    return wanted.reduce((n, id) => (id === ignored || (targets !== undefined && id < 0) ? n : n + 1), 0)
  })
}
