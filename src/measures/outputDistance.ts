import { distanceRecipes, type OutputDistance } from './distanceRecipes.ts'
import { denseStates, foldRows, walkDense } from './foldRows.ts'
import { type Asked, type Batch, type Chunk, headParts, type Machine, type RowMeasure } from './machine.ts'
import { distanceOfWords, type TopWords } from './topWords.ts'

export interface OutputDistanceOptions {
  readonly by: OutputDistance
  /**
   * Tell only so many words apart at each token, those that the dense model finds most likely, and count the others as one. For
   * js, kl, js_reversed and official_kl, which get no larger by it; one head for a plan instead of two. Absent: all words.
   */
  readonly topK?: number | undefined
}

/**
 * The distance of each row's predictions from the dense model's, at every token that is not padding. Kept of the dense model are its
 * final hidden states (B·T,D), never its logits: both heads run for a few tokens at a time. In float64 from the logits on.
 */
export const outputDistance: RowMeasure<OutputDistanceOptions> = {
  unit: ({ by }) => distanceRecipes[by].unit,
  journalName: ({ by, topK }) => (topK === undefined ? by : `${by} top ${topK}`),
  measure: (machine, asked) =>
    asked.options.topK === undefined
      ? foldRows(machine, asked, {
          reference: (_, __, chunk) => denseStates(machine, asked, chunk),
          values: (_, __, batch, hidden, dense) => distancesOfBatch(machine, asked, batch, dense!, hidden),
        })
      : foldRows(machine, asked, {
          reference: (_, __, chunk) => denseWords(machine, asked, chunk, asked.options.topK!),
          values: (_, __, batch, hidden, dense) => wordDistancesOfBatch(machine, asked, batch, dense!, hidden),
        }),
}

/** Distances of the predictions of each row of the batch; `dense` and `hidden` are its final states (B,T,D). */
async function distancesOfBatch(
  machine: Machine,
  { rows, options }: Asked<OutputDistanceOptions>,
  batch: Batch,
  dense: Float32Array,
  hidden: Float32Array,
): Promise<Float64Array> {
  const { width, vocabulary } = machine
  const { graph: kind, row: valueOfRow } = distanceRecipes[options.by]
  const { lengths, rowLength } = rows.decoder ?? rows
  const { readsFirst } = machine.head(kind)
  const values = new Float64Array(batch.rows)
  for (let row = 0; row < batch.rows; row++) {
    const tokens = readsFirst ? 1 : (lengths?.[batch.first + row] ?? rowLength)
    const distances = new Float64Array(tokens)
    // both sets of logits and what is computed from them are float64
    for (const [start, end] of headParts(tokens, vocabulary, 4)) {
      const part = (states: Float32Array) => floats(states, width, row * rowLength + start, row * rowLength + end)
      distances.set(await machine.runHead(kind, end - start, { denseHidden: part(dense), hidden: part(hidden) }), start)
    }
    values[row] = valueOfRow(distances, vocabulary)
  }
  return values
}

/** The likeliest words of the dense model at every position, padding included, one entry a micro-batch. */
function denseWords(
  machine: Machine,
  asked: Asked<OutputDistanceOptions>,
  chunk: Chunk,
  topK: number,
): Promise<TopWords[]> {
  const words = Math.min(topK, machine.vocabulary)
  return machine.remember('denseWords', [asked.rows, chunk.start, words], async () => {
    const batches: TopWords[] = []
    await walkDense(
      machine,
      asked,
      chunk,
      async (hidden) => void batches.push(await topWordsOf(machine, hidden, words)),
    )
    return batches
  })
}

/** The `words` likeliest words at each position, and log p of them: states (N,D) → (N,W). */
async function topWordsOf(machine: Machine, states: Float32Array, words: number): Promise<TopWords> {
  const { width, vocabulary } = machine
  const positions = states.length / width
  const ids = new BigInt64Array(positions * words)
  for (const [start, end] of headParts(positions, vocabulary, 2)) {
    const found = await machine.runHead('topWords', end - start, {
      hidden: floats(states, width, start, end),
      count: { type: 'int64', values: BigInt64Array.of(BigInt(words)), dims: [1] },
    })
    for (const [i, id] of found.entries()) ids[start * words + i] = BigInt(id)
  }
  return { words, ids, logProbabilities: await logProbabilitiesOf(machine, states, words, ids) }
}

/** log p of W words at each position: states (N,D), ids (N,W) → (N,W). */
async function logProbabilitiesOf(
  machine: Machine,
  states: Float32Array,
  words: number,
  ids: BigInt64Array<ArrayBuffer>,
): Promise<Float32Array> {
  const { width, vocabulary } = machine
  const values = new Float32Array(ids.length)
  for (const [start, end] of headParts(states.length / width, vocabulary, 2)) {
    const found = await machine.runHead('wordLogProbabilities', end - start, {
      hidden: floats(states, width, start, end),
      words: { type: 'int64', values: ids.subarray(start * words, end * words), dims: [end - start, words] },
    })
    values.set(found, start * words)
  }
  return values
}

/** Distances of each row of the batch by the likeliest words of the dense model; `hidden` are the final states (B,T,D). */
async function wordDistancesOfBatch(
  machine: Machine,
  { rows, options }: Asked<OutputDistanceOptions>,
  batch: Batch,
  { words, ids, logProbabilities }: TopWords,
  hidden: Float32Array,
): Promise<Float64Array> {
  const { readsFirst } = machine.head('wordLogProbabilities')
  const { lengths, rowLength } = rows.decoder ?? rows
  const found = await logProbabilitiesOf(machine, hidden, words, ids)
  return Float64Array.from({ length: batch.rows }, (_, row) => {
    const tokens = readsFirst ? 1 : (lengths?.[batch.first + row] ?? rowLength)
    const ofRow = (values: Float32Array) => values.subarray(row * rowLength * words, (row * rowLength + tokens) * words)
    return distanceOfWords(options.by, ofRow(logProbabilities), ofRow(found), words, machine.vocabulary)
  })
}

/** Hidden states of positions `start` to `end`, (N,D). */
function floats(states: Float32Array, width: number, start: number, end: number) {
  return { type: 'float32' as const, values: states.subarray(start * width, end * width), dims: [end - start, width] }
}
