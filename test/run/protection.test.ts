import { mkdtempSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { loadModel } from '../../src/model/load.ts'
import type { Model } from '../../src/model/model.ts'
import { protectedBlocks } from '../../src/run/protection.ts'
import { pruneAny } from '../../src/run/pruneModel.ts'

let model: Model
beforeAll(async () => {
  model = await loadModel('embedded')
})
afterAll(() => model.weights.close())

const run = (given: Partial<Parameters<typeof pruneAny>[0]>) =>
  pruneAny({
    model: 'embedded',
    output: mkdtempSync(join(tmpdir(), 'protection-')),
    budget: { remove: 3 },
    calibration: { dataset: 'embedded', nsamples: 1, seqlen: 16, seed: 1 },
    seed: 1,
    export: false,
    ...given,
  })

describe('what is to stay', () => {
  it('is named by blocks, by first layers and by last layers', () => {
    expect([...protectedBlocks(model, { keepBlocks: ['decoder.3.mlp', 'decoder.5'] })]).toEqual([
      'decoder.3.mlp',
      'decoder.5.attention',
      'decoder.5.mlp',
    ])
    const outer = protectedBlocks(model, { keepFirst: 1, keepLast: 2 })
    expect([...outer].map((id) => Number(id.split('.')[1])).sort((a, b) => a - b)).toEqual([0, 0, 10, 10, 11, 11])
    expect(protectedBlocks(model, {}).size).toBe(0)
    expect(() => protectedBlocks(model, { keepBlocks: ['decoder.12'] })).toThrow(/--keep-blocks: "decoder.12"/)
    expect(() => protectedBlocks(model, { keepFirst: 1.5 })).toThrow('--keep-first 1.5: expected a whole number from 0')
  })

  it('stays in what a search, one-shot scores and masks find, and stands in the plan', async () => {
    const protection = { keepFirst: 2, keepBlocks: ['decoder.3-9.mlp'] }
    const kept = protectedBlocks(model, protection)
    for (const given of [
      { searching: { search: 'fast' } },
      { method: 'llm-drop' },
      { method: 'finercut' },
      { method: 'flap', budget: { ratio: 0.05 } },
    ]) {
      const { file } = await run({ ...given, ...protection })
      expect(file.options).toMatchObject(protection)
      const touched = [...file.plan.blocks, ...Object.keys(file.plan.units)]
      expect(touched.length).toBeGreaterThan(2)
      expect(touched.filter((id) => kept.has(id as never))).toEqual([])
    }
  })

  it('is refused, before anything is searched, where too little is left for the budget', async () => {
    await expect(run({ keepFirst: 12 })).rejects.toThrow(/can remove at most 0 of the 24 blocks/)
    await expect(run({ method: 'given', methodOptions: { removeBlocks: ['decoder.1'] } })).rejects.toThrow(
      '--remove 3: given removes what it is told to; leave the budget out',
    )
  })

  it('leaves a list of blocks to be removed as it is', async () => {
    const { file } = await run({ methodOptions: { removeBlocks: ['decoder.4.mlp', 'decoder.2'] }, budget: undefined })
    expect(file.method).toBe('given')
    expect(file.steps.map(({ removed }) => removed)).toEqual([
      ['decoder.4.mlp'],
      ['decoder.2.attention', 'decoder.2.mlp'],
    ])
    expect(file.options).toMatchObject({ remove: 3, removeBlocks: ['decoder.4.mlp', 'decoder.2'] })
  })
})
