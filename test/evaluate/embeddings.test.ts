import { fileURLToPath } from 'node:url'
import { afterAll, describe, expect, it } from 'vitest'
import { paddedRows } from '../../src/data/paddedRows.ts'
import { openLocalEngine } from '../../src/engine/localEngine.ts'
import { embeddingsOf, measureEmbeddings } from '../../src/evaluate/embeddings.ts'
import { meanPooling } from '../../src/evaluate/sentencePooling.ts'
import { describeModel } from '../../src/model/describe.ts'
import { openFolder } from '../../src/model/folder.ts'
import { emptyPlan, withoutBlock } from '../../src/model/plan.ts'
import { expectError } from '../measured.ts'

const folder = fileURLToPath(new URL('../fixtures/tiny-encoders/bert-headless', import.meta.url))
const model = describeModel('bert-headless', folder, await openFolder(folder))
const engine = openLocalEngine(model, { threads: 1 })
afterAll(() => engine.close())

const sentences = [3, 11, 7, 20].map((length, i) => Int32Array.from({ length }, (_, t) => 5 + ((i * 97 + t * 31) % 50)))
const padded = paddedRows('sentences', sentences, 0)
const plan = withoutBlock(emptyPlan, model.blocks[1]!.id)

describe('embeddings of sentences', () => {
  it('are those of each sentence alone, however long it is padded', async () => {
    const together = await embeddingsOf(engine, padded, emptyPlan)
    for (const [row, ids] of sentences.entries()) {
      const [alone] = await embeddingsOf(engine, { ids, rows: 1, rowLength: ids.length }, emptyPlan)
      expectError(Math.max(...alone!.map((value, i) => Math.abs(value - together[row]![i]!))), 1.9e-7)
    }
  })

  it('would be others if padding were attended to or averaged', async () => {
    const [masked] = await embeddingsOf(engine, padded, emptyPlan)
    const { lengths: _, ...unmasked } = padded
    const [other] = await embeddingsOf(engine, unmasked, emptyPlan)
    expect(masked!.reduce((sum, value, i) => sum + value * other![i]!, 0)).toBeLessThan(0.99)
  })

  it('have length 1', async () => {
    for (const embedding of await embeddingsOf(engine, padded, plan))
      expect(Math.hypot(...embedding)).toBeCloseTo(1, 12)
  })

  it('are compared by their cosine, with the spread over sentences', async () => {
    const same = await measureEmbeddings(engine, { batches: [padded], pooling: meanPooling }, emptyPlan)
    expect(same.sentences).toBe(4)
    expect(same.meanCosine).toBeCloseTo(1, 12)
    expect(same.leastCosine).toBeCloseTo(1, 12)
    expect(same.deviation).toBeLessThan(1e-12)
    const [dense, pruned] = [await embeddingsOf(engine, padded, emptyPlan), await embeddingsOf(engine, padded, plan)]
    const cosines = dense.map((a, row) => a.reduce((sum, value, i) => sum + value * pruned[row]![i]!, 0))
    const mean = cosines.reduce((a, b) => a + b) / 4
    const moved = await measureEmbeddings(engine, { batches: [padded], pooling: meanPooling }, plan)
    expect(moved.meanCosine).toBeCloseTo(mean, 12)
    expect(moved.leastCosine).toBeCloseTo(Math.min(...cosines), 12)
    expect(moved.deviation).toBeCloseTo(Math.sqrt(cosines.reduce((sum, c) => sum + (c - mean) ** 2, 0) / 3), 12)
    expect(moved.leastCosine).toBeLessThan(0.9999)
  })
})
