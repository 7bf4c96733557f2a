import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { describe, expect, it } from 'vitest'
import { openLocalEngine } from '../../src/engine/localEngine.ts'
import { continuations } from '../../src/evaluate/continuations.ts'
import { measureOn } from '../../src/measures/measurement.ts'
import { loadModel } from '../../src/model/load.ts'
import { emptyPlan } from '../../src/model/plan.ts'
import { readyPrompts, samplePrompts } from '../../src/run/samples.ts'
import { expectError } from '../measured.ts'
import { openFixture } from '../model/openFixture.ts'

interface Golden {
  readonly eos: number
  readonly rows: readonly { readonly prompt: number[]; readonly new: number[]; readonly margin: number }[]
}

const root = fileURLToPath(new URL('../../', import.meta.url))
const { models } = JSON.parse(readFileSync(`${root}test/fixtures/continuations/expected.json`, 'utf8')) as {
  readonly models: Readonly<Record<string, Golden>>
}

describe('continuations', () => {
  it.each(Object.entries(models))(
    'of %s are what the greedy generate of transformers writes',
    async (folder, golden) => {
      const model = await loadModel(`${root}${folder}`)
      const engine = openLocalEngine(model, { threads: 1 })
      const ready = (await readyPrompts(model, samplePrompts.length))!
      // prompts, and the ids that end a text, are read as transformers reads them
      expect(ready.prompts.map(({ ids }) => [...ids])).toEqual(golden.rows.map(({ prompt }) => prompt))
      expect([...ready.ends]).toEqual([golden.eos])
      // rows of unequal lengths go through together
      const prompts = golden.rows.map(({ prompt }) => Int32Array.from(prompt))
      const found = await continuations(engine, emptyPlan, prompts, { tokens: 24, ends: ready.ends })
      expect(found).toEqual(golden.rows.map((row) => row.new))
      await engine.close()
      await model.weights.close()
    },
  )

  it('end at the first id that ends a text, and leave it out', async () => {
    const [folder, golden] = Object.entries(models)[0]!
    const model = await loadModel(`${root}${folder}`)
    const engine = openLocalEngine(model, { threads: 1 })
    const { prompt, new: written } = golden.rows[0]!
    const end = written[5]!
    const ends = new Set([end])
    const [found] = await continuations(engine, emptyPlan, [Int32Array.from(prompt)], { tokens: 24, ends })
    expect(found).toEqual(written.slice(0, written.indexOf(end)))
    await engine.close()
    await model.weights.close()
  })
})

describe('lastLogits', () => {
  it('are those of the last token before the padding, of every plan', async () => {
    const { model, rows: one } = await openFixture('tiny-random/llama')
    const rows = { ids: Int32Array.of(...one.ids, ...one.ids.toReversed()), rows: 2, rowLength: one.rowLength }
    const engine = openLocalEngine(model, { threads: 1 })
    const plans = [emptyPlan, { blocks: [model.blocks[1]!.id], units: {} }]
    const lengths = Int32Array.from({ length: rows.rows }, (_, row) => rows.rowLength - row)
    const whole = await measureOn(engine, rows, { plans, measure: { name: 'logits' } })
    const last = await measureOn(engine, { ...rows, lengths }, { plans, measure: { name: 'lastLogits' } })
    const size = model.sizes['V']!
    for (const [plan, logits] of last.entries()) {
      for (const [row, length] of lengths.entries()) {
        const start = (row * rows.rowLength + length - 1) * size
        const expected = whole[plan]!.subarray(start, start + size)
        const found = logits.subarray(row * size, (row + 1) * size)
        expectError(Math.max(...found.map((value, i) => Math.abs(value - expected[i]!))), 1e-6)
      }
    }
    await engine.close()
  })

  it('are refused of a model that predicts no next token', async () => {
    const { model, rows } = await openFixture('tiny-random/bert')
    const engine = openLocalEngine(model, { threads: 1 })
    const asked = measureOn(engine, rows, { plans: [emptyPlan], measure: { name: 'lastLogits' } })
    await expect(asked).rejects.toThrow(/predicts no next token, expected a decoder/)
    await engine.close()
  })
})
