import * as ort from 'onnxruntime-node'
import { describe, expect, it } from 'vitest'
import type { Graph } from '../../src/graph/graph.ts'
import { releasedTokenLossGraph, tokenLossGraph, wordLogProbabilitiesGraph } from '../../src/graph/head.ts'
import { vocabularyPieces } from '../../src/graph/logProbabilityToOnnx.ts'
import { graphToOnnx } from '../../src/graph/toOnnx.ts'
import type { HeadForm } from '../../src/model/mathematics.ts'
import { Random } from '../../src/tensor/random.ts'

const form: HeadForm = { weight: 'lmHead' }
const [rows, width] = [3, 8]

// Llama 2, SmolLM2, GPT-2, one word more than SmolLM2 (no size divides it), Gemma
describe.each([32_000, 49_152, 50_257, 49_153, 262_144])('the loss over %d words', (vocabulary) => {
  const random = new Random(5)
  // logits spread by 4 nats, where sums in float32 lose the most
  const numbers = (length: number, scale: number) =>
    Float32Array.from({ length }, () => scale * (2 * random.uniform() - 1))
  const matrix = numbers(vocabulary * width, 1)
  const feeds = {
    hidden: new ort.Tensor('float32', numbers(rows * width, 4.2), [rows, width]),
    lmHead: new ort.Tensor('float32', matrix, [vocabulary, width]),
  }
  const words = BigInt64Array.from({ length: rows * 2 }, (_, i) => BigInt((i * 7919 + 13) % vocabulary))
  const targets = new ort.Tensor('int64', words.slice(0, rows), [rows])

  it('agrees with float64 to 2e-6 nats', async () => {
    const exact = float64(feeds.hidden.data, matrix, words.slice(0, rows), 1)
    // measured: 9e-7, half of a last digit at 16 nats
    expect(distance(await run(tokenLossGraph(form, vocabulary), { ...feeds, targets }), exact)).toBeLessThan(2e-6)
  })

  it('agrees with it by operators that every provider has', async () => {
    const exact = float64(feeds.hidden.data, matrix, words.slice(0, rows), 1)
    const found = await run(tokenLossGraph(form, vocabulary), { ...feeds, targets }, true)
    expect(distance(found, exact)).toBeLessThan(2e-6)
  })

  it('agrees with it for several words of a position too', async () => {
    const exact = float64(feeds.hidden.data, matrix, words, 2)
    const asked = { ...feeds, words: new ort.Tensor('int64', words, [rows, 2]) }
    expect(distance(await run(wordLogProbabilitiesGraph(form, vocabulary), asked), exact)).toBeLessThan(2e-6)
  })

  it('is that of plain float32 sums where the released code is to be met', async () => {
    const exact = float64(feeds.hidden.data, matrix, words.slice(0, rows), 1)
    expect(distance(await run(releasedTokenLossGraph(form), { ...feeds, targets }), exact)).toBeGreaterThan(2e-6)
  })
})

describe('the pieces of a vocabulary', () => {
  it('are one for classes and few words', () => {
    expect(vocabularyPieces(3)).toEqual({ count: 1, size: 3, padding: 0 })
    expect(vocabularyPieces(2048)).toEqual({ count: 1, size: 2048, padding: 0 })
  })

  it('are of one size, evenly where that goes', () => {
    expect(vocabularyPieces(50_257)).toEqual({ count: 29, size: 1733, padding: 0 })
    expect(vocabularyPieces(262_144)).toEqual({ count: 128, size: 2048, padding: 0 })
    expect(vocabularyPieces(32_003)).toEqual({ count: 16, size: 2048, padding: 765 })
  })

  it('cover every vocabulary, their padding less than a piece', () => {
    for (let vocabulary = 1; vocabulary < 300_000; vocabulary += 997) {
      const { count, size, padding } = vocabularyPieces(vocabulary)
      expect(count * size - padding).toBe(vocabulary)
      expect(padding).toBeLessThan(size)
    }
  })
})

async function run(graph: Graph, feeds: Readonly<Record<string, ort.Tensor>>, portable = false) {
  const session = await ort.InferenceSession.create(graphToOnnx(graph, { portable }), {
    intraOpNumThreads: 1,
    logSeverityLevel: 3,
  })
  const results = await session.run(feeds)
  await session.release()
  return results[graph.outputs[0]!.value.name]!.data as Float32Array
}

/** log p of `each` words of every row, by sums in float64 of the float32 inputs' products. */
function float64(hidden: Float32Array, matrix: Float32Array, words: BigInt64Array, each: number): Float64Array {
  const vocabulary = matrix.length / width
  return Float64Array.from(words, (word, i) => {
    const row = Math.floor(i / each)
    const logits = Float64Array.from({ length: vocabulary }, (_, v) => {
      let sum = 0
      for (let d = 0; d < width; d++) sum += hidden[row * width + d]! * matrix[v * width + d]!
      return sum
    })
    const largest = logits.reduce((a, b) => Math.max(a, b))
    return logits[Number(word)]! - largest - Math.log(logits.reduce((sum, z) => sum + Math.exp(z - largest), 0))
  })
}

const distance = (found: Float32Array, exact: Float64Array) =>
  Math.max(...exact.map((value, i) => Math.abs(value - found[i]!)))
