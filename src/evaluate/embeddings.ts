import { type Engine, measureOn } from '../measures/measurement.ts'
import { emptyPlan } from '../model/plan.ts'
import type { PruningPlan, StopSignal, TokenRows } from '../types.ts'

/** How alike the embeddings of sentences are that a pruned and the dense encoder give: cosines, 1 for the dense one itself. */
export interface EmbeddingReport {
  readonly sentences: number
  readonly meanCosine: number
  /** Standard deviation over sentences. */
  readonly deviation: number
  /** Of the sentence that moved most. */
  readonly leastCosine: number
}

/** Compares the mean-pooled embedding of every row of `sentences` with the dense model's. */
export async function measureEmbeddings(
  engine: Engine,
  sentences: readonly TokenRows[],
  plan: PruningPlan,
  signal?: StopSignal,
): Promise<EmbeddingReport> {
  const cosines: number[] = []
  for (const rows of sentences) {
    signal?.throwIfAborted()
    const [dense, pruned] = [await embeddingsOf(engine, rows, emptyPlan), await embeddingsOf(engine, rows, plan)]
    for (const [row, embedding] of dense.entries()) cosines.push(dot(embedding, pruned[row]!))
  }
  const meanCosine = cosines.reduce((total, value) => total + value, 0) / cosines.length
  const variance = cosines.reduce((total, value) => total + (value - meanCosine) ** 2, 0) / (cosines.length - 1)
  return {
    sentences: cosines.length,
    meanCosine,
    deviation: Math.sqrt(variance),
    leastCosine: Math.min(...cosines),
  }
}

/**
 * What sentence-transformers computes with mean pooling and normalisation: the mean of the final hidden states over the tokens of
 * each row, special tokens included and padding not, brought to length 1, in float64.
 */
export async function embeddingsOf(engine: Engine, rows: TokenRows, plan: PruningPlan): Promise<Float64Array[]> {
  const [states] = await measureOn(engine, rows, { plans: [plan], measure: { name: 'hiddenStates' } })
  const hidden = states! // (B·T,D)
  const { rows: count, rowLength, lengths } = rows
  const width = hidden.length / (count * rowLength)
  return Array.from({ length: count }, (_, row) => {
    const sum = new Float64Array(width)
    for (let t = 0; t < (lengths?.[row] ?? rowLength); t++) {
      const start = (row * rowLength + t) * width
      for (let i = 0; i < width; i++) sum[i]! += hidden[start + i]!
    }
    const length = Math.sqrt(dot(sum, sum))
    return length === 0 ? sum : sum.map((value) => value / length)
  })
}

function dot(a: Float64Array, b: Float64Array): number {
  return a.reduce((total, value, i) => total + value * b[i]!, 0)
}
