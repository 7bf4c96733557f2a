import { type Engine, measureOn } from '../measures/measurement.ts'
import type { Model } from '../model/model.ts'
import type { PruningPlan, TokenRows } from '../types.ts'

/** What software and our engine are compared by: logits, or the states of a model that predicts nothing. */
export type PredictionKind =
  /** Of a decoder, at every token. */
  | 'nextToken'
  /** Of the decoder of an encoder-decoder, at every token it reads. */
  | 'targetToken'
  /** Of an encoder with a masked-LM head, at every token, masked or not. */
  | 'maskedToken'
  | 'tokenClass'
  /** One for a row. */
  | 'rowClass'
  /** The final states of an encoder without a head, whose channels are compared as if they were words. */
  | 'hiddenState'

export interface Predictions {
  readonly kind: PredictionKind
  /** Values of one prediction: words, classes or channels. */
  readonly width: number
}

/** What `model` predicts. */
export function predictionsOf({ architecture, config, outer, sizes }: Model): Predictions {
  const { V, C, D } = sizes as { V: number; C: number; D: number }
  if (architecture.family === 'encoderDecoder') return { kind: 'targetToken', width: V }
  if (architecture.family === 'decoder') return { kind: 'nextToken', width: V }
  const head = architecture.head(config, outer)
  if (head === undefined) return { kind: 'hiddenState', width: D }
  if (head.weight !== 'classifier') return { kind: 'maskedToken', width: V }
  return { kind: head.readsFirst ? 'rowClass' : 'tokenClass', width: C }
}

/** Predictions that `rows` have of that kind. */
export function countOfPredictions(kind: PredictionKind, rows: TokenRows): number {
  if (kind === 'rowClass') return rows.rows
  return rows.rows * (kind === 'targetToken' ? rows.decoder!.rowLength : rows.rowLength)
}

/** The predictions of `plan`, evaluated by `engine`: (N, width) row-major. */
export async function predict(model: Model, engine: Engine, rows: TokenRows, plan: PruningPlan): Promise<Float32Array> {
  const name = predictionsOf(model).kind === 'hiddenState' ? 'hiddenStates' : 'logits'
  const [values] = await measureOn(engine, rows, { plans: [plan], measure: { name } })
  return values!
}
