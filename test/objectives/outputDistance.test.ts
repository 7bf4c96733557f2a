import { join } from 'node:path'
import { afterAll, describe, expect, it } from 'vitest'
import { openLocalEngine } from '../../src/engine/localEngine.ts'
import type { OutputDistance } from '../../src/measures/distanceRecipes.ts'
import { loadModel, openModel } from '../../src/model/load.ts'
import { emptyPlan } from '../../src/model/plan.ts'
import { distanceObjective } from '../../src/objectives/outputDistance.ts'
import type { BlockId, PruningPlan } from '../../src/types.ts'
import * as ask from '../asked.ts'
import { expectError } from '../measured.ts'

const model = await loadModel('embedded')
const engine = openLocalEngine(model)
afterAll(() => engine.close())

const rowLength = 24
const rows = { ids: Int32Array.from({ length: 3 * rowLength }, (_, i) => (i * 37) % 1000), rows: 3, rowLength }
const plan: PruningPlan = { blocks: ['decoder.3.mlp', 'decoder.7.attention'], units: {} }
const vocabulary = model.sizes['V']!

/** The formulas of methods.md in float64 on the logits of one token. */
const perToken: Record<OutputDistance, (z: Float64Array, y: Float64Array) => number> = {
  js: (z, y) => half(z, y, (p, q, m) => p * Math.log(p / m) + q * Math.log(q / m)),
  kl: (z, y) => 2 * half(z, y, (p, q) => p * Math.log(p / q)),
  angular: (z, y) => Math.acos(cosine(z, y)) / Math.PI,
  euclidean: (z, y) => Math.hypot(...z.map((value, i) => value - y[i]!)),
  js_reversed: (z, y) => half(z, y, (p, q, m) => m * Math.log(m / p) + m * Math.log(m / q)) / vocabulary,
  official_kl: (z, y) => (2 * half(z, y, (p, q) => p * Math.log(p / q))) / vocabulary,
  official_angular: (z, y) => Math.acos(Math.min(1, Math.max(0, cosine(z, y)))),
  official_norm: (z, y) => z.reduce((sum, value, i) => sum + (value - y[i]!) ** 2, 0),
}

function softmax(z: Float64Array): Float64Array {
  const top = Math.max(...z)
  const exps = z.map((value) => Math.exp(value - top))
  const sum = exps.reduce((total, value) => total + value, 0)
  return exps.map((value) => value / sum)
}

function half(z: Float64Array, y: Float64Array, of: (p: number, q: number, m: number) => number): number {
  const [p, q] = [softmax(z), softmax(y)]
  return p.reduce((sum, value, i) => sum + of(value, q[i]!, (value + q[i]!) / 2), 0) / 2
}

function cosine(z: Float64Array, y: Float64Array): number {
  const dot = (a: Float64Array, b: Float64Array) => a.reduce((sum, value, i) => sum + value * b[i]!, 0)
  return dot(z, y) / Math.sqrt(dot(z, z) * dot(y, y))
}

describe('distances of predictions', () => {
  it.each(Object.keys(perToken) as OutputDistance[])('%s is its formula on the logits', async (measure) => {
    const [dense, pruned] = [await ask.logits(engine, rows, emptyPlan), await ask.logits(engine, rows, plan)]
    const objective = distanceObjective(engine, rows, measure)
    const [values] = await objective.evaluateRows([plan])
    for (let row = 0; row < rows.rows; row++) {
      const tokens = Array.from({ length: rowLength }, (_, t) => {
        const at = (row * rowLength + t) * vocabulary
        const [z, y] = [dense, pruned].map((all) => Float64Array.from(all.subarray(at, at + vocabulary)))
        return perToken[measure](z!, y!)
      })
      const sum = tokens.reduce((total, value) => total + value, 0)
      const expected = measure === 'official_norm' ? Math.sqrt(sum) : sum / rowLength
      expectError(Math.abs(values![row]! / expected - 1), 1.9e-8)
    }
    expect(await objective.evaluate([plan])).toEqual([objective.combine(values!)])
  })

  it('are 0 for the dense model, the same for a part of the rows, and told row by row', async () => {
    const objective = distanceObjective(engine, rows)
    expect((await objective.evaluate([emptyPlan]))[0]).toBeCloseTo(0, 15)
    const [whole] = await objective.evaluateRows([plan])
    const told: number[][] = []
    const [part] = await objective.evaluateRows([plan], {
      range: [1, 3],
      onRows: (i, values) => told.push([i, ...values]),
    })
    for (const [i, value] of part!.entries()) expectError(Math.abs(value / whole![i + 1]! - 1), 0)
    expect(told).toEqual([[0, ...part!]])
  })
})

describe('distances by the likeliest words', () => {
  const told = ['js', 'kl', 'js_reversed', 'official_kl'] as const
  const at = async (measure: OutputDistance, topK?: number) =>
    (await distanceObjective(engine, rows, measure, { topK }).evaluateRows([plan]))[0]!

  it.each(told)('%s grows with the words told apart, up to that of all words', async (measure) => {
    const values = []
    for (const topK of [1, 8, 64, 512, vocabulary]) values.push(await at(measure, topK))
    const whole = await at(measure)
    for (let row = 0; row < rows.rows; row++) {
      const ofRow = values.map((rowValues) => rowValues[row]!)
      // more words told apart never say less; float32 probabilities err by 1e-7
      for (const [i, value] of ofRow.entries()) expect(value).toBeGreaterThan((ofRow[i - 1] ?? 0) * (1 - 1e-5))
      expect(ofRow[0]).toBeLessThan(ofRow[3]!)
      // float32 probabilities against float64
      expectError(Math.abs(ofRow[4]! / whole[row]! - 1), 4.3e-5)
    }
  })

  it('are those of the words and the rest as one more word', async () => {
    const [dense, pruned] = [await ask.logits(engine, rows, emptyPlan), await ask.logits(engine, rows, plan)]
    const words = 5
    const coarse = (z: Float64Array, top: readonly number[]) => {
      const p = softmax(z)
      const few = top.map((word) => p[word]!)
      return [...few, 1 - few.reduce((total, value) => total + value, 0)]
    }
    const [value] = await at('kl', words)
    let expected = 0
    for (let t = 0; t < rowLength; t++) {
      const [z, y] = [dense, pruned].map((all) => Float64Array.from(all.subarray(t * vocabulary, (t + 1) * vocabulary)))
      const top = [...z!.keys()].sort((a, b) => z![b]! - z![a]!).slice(0, words)
      const [p, q] = [coarse(z!, top), coarse(y!, top)]
      expected += p.reduce((total, share, i) => total + share * Math.log(share / q[i]!), 0) / rowLength
    }
    expectError(Math.abs(value! / expected - 1), 6.4e-7)
  })

  it('are 0 for the dense model, and none for distances of the logits themselves', async () => {
    expect((await distanceObjective(engine, rows, 'js', { topK: 8 }).evaluate([emptyPlan]))[0]).toBeCloseTo(0, 9)
    await expect(at('angular', 8)).rejects.toThrow(/angular needs all logits/)
  })
})

it('tells the classes of a classifier apart, of which there are fewer than words asked for', async () => {
  const path = join(import.meta.dirname, '../fixtures/tiny-random/bert-cls')
  const classifier = await openModel('bert-cls', path)
  const own = openLocalEngine(classifier, { threads: 1 })
  const short = { ...rows, ids: rows.ids.map((id) => id % classifier.sizes['V']!) }
  const without = { blocks: ['encoder.1.mlp' as const], units: {} }
  const C = classifier.sizes['C']!
  const [dense, pruned] = [await ask.logits(own, short, emptyPlan), await ask.logits(own, short, without)]
  for (const measure of ['kl', 'official_kl'] as const) {
    for (const topK of [undefined, 5]) {
      const [values] = await distanceObjective(own, short, measure, { topK }).evaluateRows([without])
      for (let row = 0; row < rows.rows; row++) {
        const [z, y] = [dense, pruned].map((all) => softmax(Float64Array.from(all.subarray(row * C, (row + 1) * C))))
        const sum = z!.reduce((total, p, i) => total + p * Math.log(p / y![i]!), 0)
        expectError(Math.abs(values![row]! / (measure === 'kl' ? sum : sum / C) - 1), 1.1e-6)
      }
    }
  }
  await own.close()
  await classifier.weights.close()
})

describe('similarities along the stream', () => {
  const ids = model.blocks.map(({ id }) => id)
  const width = model.sizes['D']!
  /** The stream before block `at`: the model that ends there. */
  const streamBefore = (at: number) => ask.hiddenStates(engine, rows, { blocks: ids.slice(at), units: {} })

  it.each([
    ['cosine', 0, 0],
    ['cosine', 5, 5],
    ['cosine', 4, 7],
    ['lastAngle', 2, 9],
    ['lastAngle', 0, 23],
  ] as const)('%s from block %i to block %i is that of the hidden states themselves', async (measure, from, to) => {
    const spans: [BlockId, BlockId][] = [
      [ids[from]!, ids[to]!],
      [ids[1]!, ids[2]!],
    ]
    const [found] = await ask.similarities(engine, rows, { spans, by: measure })
    const [before, after] = [await streamBefore(from), await streamBefore(to + 1)]
    for (let row = 0; row < rows.rows; row++) {
      const cosines = Array.from({ length: rowLength }, (_, t) => {
        const at = (row * rowLength + t) * width
        const [x, y] = [before, after].map((all) => Float64Array.from(all.subarray(at, at + width)))
        return cosine(x!, y!)
      })
      const expected =
        measure === 'cosine'
          ? cosines.reduce((total, value) => total + value, 0) / rowLength
          : Math.acos(cosines.at(-1)!) / Math.PI
      expect(found![row]).toBeCloseTo(expected, 6)
    }
  })
})

describe('statistics of channels', () => {
  it('are the means of what enters the output matrix, and norms of its columns', async () => {
    const ids: BlockId[] = ['decoder.2.attention', 'decoder.5.mlp']
    const found = await ask.channelStatistics(engine, rows, ids)
    const matrices = ['model.layers.2.self_attn.o_proj.weight', 'model.layers.5.mlp.down_proj.weight']
    for (const [i, id] of ids.entries()) {
      const { mean, meanSquare, absoluteWeight, squaredWeight } = found[i]!
      const matrix = await model.weights.read(matrices[i]!)
      const channels = mean.length
      expect(matrix.length).toBe(width * channels)
      let [absolute, squared] = [0, 0]
      for (let d = 0; d < width; d++) {
        absolute += Math.abs(matrix[d * channels + 3]!) / width
        squared += matrix[d * channels + 3]! ** 2
      }
      expect(absoluteWeight[3]).toBeCloseTo(absolute, 12)
      expect(squaredWeight[3]).toBeCloseTo(squared, 12)
      expect(meanSquare.every((value, c) => value >= mean[c]! ** 2 - 1e-12)).toBe(true)
      // the branch adds W x to the stream: its mean over tokens is W mean(x)
      const [before, after] = [await streamFrom(id, 0), await streamFrom(id, 1)]
      for (const d of [0, 7, width - 1]) {
        let branch = 0
        for (let t = 0; t < rows.rows * rowLength; t++) branch += after[t * width + d]! - before[t * width + d]!
        let expected = 0
        for (let c = 0; c < channels; c++) expected += matrix[d * channels + c]! * mean[c]!
        expect(branch / (rows.rows * rowLength)).toBeCloseTo(expected, 5)
      }
    }
  })

  const width = model.sizes['D']!
  /** The stream before the block, or after it. */
  function streamFrom(id: BlockId, more: number) {
    const all = model.blocks.map((block) => block.id)
    return ask.hiddenStates(engine, rows, { blocks: all.slice(all.indexOf(id) + more), units: {} })
  }
})
