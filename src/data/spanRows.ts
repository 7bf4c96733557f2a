import { CalibrationError } from '../errors.ts'
import { Random } from '../tensor/random.ts'
import type { PackedRows } from './calibration.ts'

export interface SpanOptions {
  /** Tokens that stand for the first, second, … span that is cut out: T5's `<extra_id_0>`, `<extra_id_1>`, … */
  readonly sentinelIds: readonly number[]
  readonly eosTokenId: number
  readonly decoderStartTokenId: number
  readonly seed: number
  /** Share of a row's tokens that is cut out, 0..1; default 0.15. */
  readonly share?: number
  /** Mean length of a span in tokens; default 3. */
  readonly meanSpan?: number
}

/**
 * T5's span corruption (arXiv:1910.10683, section 3.1.4): from a row of T tokens round(share · T) are cut out in round(that /
 * meanSpan) spans, drawn once with the seed. The encoder reads the rest with a sentinel for each span and </s> at the end; the
 * decoder is to write each sentinel and its span, and </s>. All rows come out equally long. Throws `CalibrationError` where a
 * row is too short or the tokenizer has too few sentinels.
 */
export function spanRows(rows: PackedRows, options: SpanOptions): PackedRows {
  const { sentinelIds, eosTokenId, decoderStartTokenId, seed, share = 0.15, meanSpan = 3 } = options
  const { rowLength } = rows
  const cut = Math.min(Math.max(1, Math.round(share * rowLength)), rowLength - 1)
  const spans = Math.max(1, Math.min(Math.round(cut / meanSpan), rowLength - cut))
  if (rowLength < 2 || spans > sentinelIds.length) {
    throw new CalibrationError(
      `rows of ${rowLength} tokens take ${spans} sentinels, the tokenizer has ${sentinelIds.length}; use ${rowLength < 2 ? 'longer' : 'shorter'} rows`,
    )
  }
  const sourceLength = rowLength - cut + spans + 1
  const targetLength = cut + spans + 1
  const sources = new Int32Array(rows.rows * sourceLength)
  const inputs = new Int32Array(rows.rows * targetLength)
  const targets = new Int32Array(rows.rows * targetLength)
  const random = new Random(seed)
  for (let row = 0; row < rows.rows; row++) {
    const text = rows.ids.subarray(row * rowLength, (row + 1) * rowLength)
    const kept = randomParts(random, rowLength - cut, spans)
    const removed = randomParts(random, cut, spans)
    const [source, target]: [number[], number[]] = [[], []]
    let at = 0
    for (let span = 0; span < spans; span++) {
      source.push(...text.subarray(at, at + kept[span]!), sentinelIds[span]!)
      at += kept[span]!
      target.push(sentinelIds[span]!, ...text.subarray(at, at + removed[span]!))
      at += removed[span]!
    }
    sources.set([...source, eosTokenId], row * sourceLength)
    targets.set([...target, eosTokenId], row * targetLength)
    inputs.set([decoderStartTokenId, ...target], row * targetLength)
  }
  const prediction = `${cut} tokens of ${rowLength} cut out in ${spans} spans, seed ${seed}`
  return {
    ids: sources,
    rows: rows.rows,
    rowLength: sourceLength,
    decoder: { ids: inputs, rows: rows.rows, rowLength: targetLength, targets },
    description: { ...rows.description, rowLength: sourceLength, prediction },
  }
}

/** `total` as a sum of `parts` whole numbers of at least 1, all such sums equally likely. */
function randomParts(random: Random, total: number, parts: number): number[] {
  const cuts = random.sample(total - 1, parts - 1).sort((a, b) => a - b)
  return Array.from({ length: parts }, (_, i) => (cuts[i] ?? total - 1) - (cuts[i - 1] ?? -1))
}
