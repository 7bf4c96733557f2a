import { type Engine, measureOn } from '../measures/measurement.ts'
import { emptyPlan } from '../model/plan.ts'
import type { PruningPlan, StopSignal, TokenRows } from '../types.ts'
import { meanPooling, poolStates, type SentencePooling } from './sentencePooling.ts'

/** How alike the embeddings of sentences are that a pruned and the dense encoder give: cosines, 1 for the dense one itself. */
export interface EmbeddingReport {
  readonly pooling: SentencePooling
  readonly sentences: number
  readonly meanCosine: number
  /** Standard deviation over sentences. */
  readonly deviation: number
  /** Of the sentence that moved most. */
  readonly leastCosine: number
}

/** Sentences in batches of rows, and how one vector is made of each. */
export interface Sentences {
  readonly batches: readonly TokenRows[]
  readonly pooling: SentencePooling
}

/** Compares the embedding of every row of `sentences`, by the pooling that the model declares, with the dense model's. */
export async function measureEmbeddings(
  engine: Engine,
  { batches, pooling }: Sentences,
  plan: PruningPlan,
  signal?: StopSignal,
): Promise<EmbeddingReport> {
  const cosines: number[] = []
  for (const rows of batches) {
    signal?.throwIfAborted()
    const [dense, pruned] = [
      await embeddingsOf(engine, rows, emptyPlan, pooling),
      await embeddingsOf(engine, rows, plan, pooling),
    ]
    for (const [row, embedding] of dense.entries()) cosines.push(cosine(embedding, pruned[row]!))
  }
  const meanCosine = cosines.reduce((total, value) => total + value, 0) / cosines.length
  const variance = cosines.reduce((total, value) => total + (value - meanCosine) ** 2, 0) / (cosines.length - 1)
  return {
    pooling,
    sentences: cosines.length,
    meanCosine,
    deviation: Math.sqrt(variance),
    leastCosine: Math.min(...cosines),
  }
}

/**
 * What sentence-transformers computes: one vector a row of its final hidden states, special tokens included and padding not, in float64.
 * Default: their mean, brought to length 1.
 */
export async function embeddingsOf(
  engine: Engine,
  rows: TokenRows,
  plan: PruningPlan,
  pooling: SentencePooling = meanPooling,
): Promise<Float64Array[]> {
  const [states] = await measureOn(engine, rows, { plans: [plan], measure: { name: 'hiddenStates' } })
  const hidden = states! // (B·T,D)
  const { rows: count, rowLength, lengths } = rows
  const width = hidden.length / (count * rowLength)
  return Array.from({ length: count }, (_, row) => {
    const own = hidden.subarray(row * rowLength * width, (row + 1) * rowLength * width)
    return poolStates(own, lengths?.[row] ?? rowLength, width, pooling)
  })
}

/** 0 where one of them is. */
function cosine(a: Float64Array, b: Float64Array): number {
  const lengths = Math.sqrt(dot(a, a) * dot(b, b))
  return lengths === 0 ? 0 : dot(a, b) / lengths
}

function dot(a: Float64Array, b: Float64Array): number {
  return a.reduce((total, value, i) => total + value * b[i]!, 0)
}
