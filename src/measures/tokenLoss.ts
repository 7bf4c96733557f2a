import { EngineError } from '../errors.ts'
import type { LossArithmetic } from '../types.ts'
import { foldRows } from './foldRows.ts'
import { type Asked, type Batch, headParts, type Machine, type RowMeasure } from './machine.ts'
import { predictionsOf, statesAt } from './predictions.ts'

export interface TokenLossOptions {
  /** A target id that is not counted, as the padding id in BlockPruner's code. */
  readonly ignored?: number | undefined
  /**
   * How log Σ exp is summed over the vocabulary. `precise` (default): agrees with float64 to 2e-6 nats, whatever its size.
   * `released`: in plain float32, as PyTorch does for the authors' permuted logits; 1e-4 nats too low for 49,152 tokens, and what their
   * published numbers have.
   */
  readonly arithmetic?: LossArithmetic | undefined
}

/**
 * The loss of each row: nats summed over what it predicts (T-1 tokens where the rows have no `targets`). Sums are float64, each
 * token's loss is float32. Rejects with `UnsupportedModelError` for a model without a head.
 */
export const tokenLoss: RowMeasure<TokenLossOptions> = {
  unit: () => 'nats',
  journalName: () => 'perplexity',
  measure: (machine, asked) =>
    foldRows<TokenLossOptions, never>(machine, asked, {
      values: (_, __, batch, hidden) => lossesOfBatch(machine, asked, batch, hidden),
    }),
}

/** Nats of each row of the batch. */
async function lossesOfBatch(
  machine: Machine,
  { rows, options: { ignored, arithmetic } }: Asked<TokenLossOptions>,
  batch: Batch,
  hidden: Float32Array,
): Promise<Float64Array> {
  const { model, width, vocabulary } = machine
  const predicting = rows.decoder ?? rows
  if (predicting.targets === undefined && model.architecture.family !== 'decoder') {
    throw new EngineError(
      `${model.id}: the rows say nothing to predict, expected targets: this model predicts no next token`,
    )
  }
  const { positions, targets } = predictionsOf(predicting, batch.first, batch.rows)
  // only what predicts something goes through the widest product of the model
  const states = statesAt(hidden, width, positions)
  const kind = arithmetic === 'released' ? 'releasedTokenLoss' : 'tokenLoss'
  machine.head(kind)
  const sums = new Float64Array(batch.rows)
  for (const [start, end] of headParts(positions.length, vocabulary, 1)) {
    const values = await machine.runHead(kind, end - start, {
      hidden: { type: 'float32', values: states.subarray(start * width, end * width), dims: [end - start, width] },
      targets: { type: 'int64', values: targets.subarray(start, end), dims: [end - start] },
    })
    for (let i = start; i < end; i++) {
      if (ignored !== undefined && targets[i] === BigInt(ignored)) continue
      sums[Math.floor(positions[i]! / predicting.rowLength)]! -= values[i - start]!
    }
  }
  return sums
}
