import type { BlockId, TokenRows } from '../types.ts'
import { cosineAt } from './cosine.ts'
import { type Batch, type Measure, rowsOfStage } from './machine.ts'

/** From the input of the first block to the output of the last, blocks of one stack that every plan keeps. */
export type Span = readonly [first: BlockId, last: BlockId]

/** cos(x, y), mean over tokens; or arccos(cos(x, y)) / π at the last token of a row. */
export type SpanMeasure = 'cosine' | 'lastAngle'

export interface SimilarityOptions {
  readonly spans: readonly Span[]
  readonly by: SpanMeasure
}

/** How alike the hidden states before and after each span are in each row: for each plan one array of rows a span. */
export const similarity: Measure<SimilarityOptions, Float64Array[]> = {
  async measure(machine, { rows, plans, options: { spans, by }, signal }) {
    const { begins, ends } = spanEnds(spans)
    const values = plans.map(() => spans.map(() => new Float64Array(rows.rows)))
    // of the states those before spans that have not ended
    const before = plans.map(() => new Map<number, Float32Array[]>())
    await machine.walk(
      { rows, plans, signal, fewStates: true },
      {
        async before({ stage, plans: walking, state }) {
          for (const span of begins.get(stage.block?.id ?? '') ?? []) {
            const states = await Promise.all(state.map(async (at) => (await machine.read(at[stage.writes]!)).slice()))
            for (const plan of walking) before[plan]!.set(span, states)
          }
        },
        async after({ stage, plans: walking, chunk, state }) {
          for (const span of ends.get(stage.block?.id ?? '') ?? []) {
            for (const [i, batch] of chunk.batches.entries()) {
              const after = await machine.read(state[i]![stage.writes]!)
              for (const plan of walking) {
                const start = before[plan]!.get(span)![i]!
                const found = similaritiesOfRows(by, rowsOfStage(stage, rows), batch, machine.width, start, after)
                values[plan]![span]!.set(found, batch.first)
              }
            }
            for (const plan of walking) before[plan]!.delete(span)
          }
        },
      },
    )
    return values
  },
}

/** The mean over the tokens of each row of what `by` says of two hidden states (B,T,D), in float64. */
function similaritiesOfRows(
  by: SpanMeasure,
  { lengths, rowLength }: TokenRows,
  batch: Batch,
  width: number,
  before: Float32Array,
  after: Float32Array,
): Float64Array {
  return Float64Array.from({ length: batch.rows }, (_, row) => {
    const tokens = lengths?.[batch.first + row] ?? rowLength
    const first = by === 'lastAngle' ? tokens - 1 : 0
    let total = 0
    for (let t = first; t < tokens; t++) {
      const cosine = cosineAt(before, after, (row * rowLength + t) * width, width)
      total += by === 'cosine' ? cosine : Math.acos(Math.min(1, Math.max(-1, cosine))) / Math.PI
    }
    return total / (tokens - first)
  })
}

/** Which spans begin before and end after each block. */
function spanEnds(spans: readonly Span[]) {
  const at = (end: 0 | 1) => {
    const found = new Map<string, number[]>()
    for (const [i, span] of spans.entries()) found.set(span[end], [...(found.get(span[end]) ?? []), i])
    return found
  }
  return { begins: at(0), ends: at(1) }
}
