import type { Engine, RowObjective, TokenRows } from '../types.ts'

export interface PerplexityOptions {
  /** A target id that is not counted: BlockPruner's code takes the padding id of the config where it is not 0. */
  readonly ignored?: number | undefined
}

/**
 * BlockPruner's score: the mean over rows of each row's mean loss over its predicted tokens, nats per token. Its exponential is
 * the sequence-mean perplexity, PPL_seq = exp( (1/B) Σ_i (1/n_i) Σ_t nll_it ). The value of a row is its mean loss; a row
 * without a counted token has none (NaN) and is left out.
 */
export function perplexityObjective(
  engine: Engine,
  rows: TokenRows,
  { ignored }: PerplexityOptions = {},
): RowObjective {
  const counts = predictedTokens(rows, ignored)
  const part = rowRanges(rows)
  const combine = (values: Float64Array, start = 0) => {
    const counted = values.filter((_, i) => counts[start + i]! > 0)
    return counted.reduce((total, value) => total + value, 0) / counted.length
  }
  return {
    measure: 'perplexity',
    unit: 'nats per token',
    rows: rows.rows,
    combine,
    async evaluate(plans, signal) {
      return (await this.evaluateRows(plans, { signal })).map((values) => combine(values))
    },
    async evaluateRows(plans, { range = [0, rows.rows] as const, signal, onRows } = {}) {
      const meansOf = (sums: Float64Array) => sums.map((sum, i) => sum / counts[range[0] + i]!)
      const onLosses = onRows && ((plan: number, sums: Float64Array) => onRows(plan, meansOf(sums)))
      return (await engine.tokenLosses(part(range), plans, { ignored, signal, onLosses })).map(meansOf)
    },
  }
}

/** How many tokens of each row are predicted and counted: T-1, less those equal to `ignored`. */
export function predictedTokens({ ids, rows, rowLength }: TokenRows, ignored?: number): number[] {
  return Array.from({ length: rows }, (_, row) => {
    const targets = ids.subarray(row * rowLength + 1, (row + 1) * rowLength)
    return ignored === undefined ? targets.length : targets.reduce((n, id) => (id === ignored ? n : n + 1), 0)
  })
}

/** Ranges of the rows, the same object for the same range: an engine remembers what it computed for an object. */
function rowRanges(rows: TokenRows): (range: readonly [number, number]) => TokenRows {
  const parts = new Map<string, TokenRows>([[`0,${rows.rows}`, rows]])
  return ([start, end]) => {
    const key = `${start},${end}`
    const ids = rows.ids.subarray(start * rows.rowLength, end * rows.rowLength)
    const part = parts.get(key) ?? { ids, rows: end - start, rowLength: rows.rowLength }
    parts.set(key, part)
    return part
  }
}
