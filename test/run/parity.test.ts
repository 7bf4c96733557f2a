import { readFileSync } from 'node:fs'
import { resolve } from 'node:path'
import { afterAll, describe, expect, it } from 'vitest'
import { openLocalEngine } from '../../src/engine/localEngine.ts'
import { blockPruner } from '../../src/methods/blockPruner.ts'
import { loadModel } from '../../src/model/load.ts'
import { emptyPlan } from '../../src/model/plan.ts'
import { perplexityObjective } from '../../src/objectives/perplexity.ts'
import type { Objective } from '../../src/types.ts'
import { expectError } from '../measured.ts'

const folder = resolve(import.meta.dirname, '../fixtures/reference/brown-llama')
const read = (name: string) => JSON.parse(readFileSync(resolve(folder, name), 'utf8'))
const reference = read('mix_24_16x256.json')
const rowsOf = (name: string) => ({
  ids: Int32Array.from(read(name).ids.slice(0, 4096) as number[]),
  rows: 16,
  rowLength: 256,
})
const kinds = { mha: 'attention', mlp: 'mlp' } as const

const model = await loadModel('embedded')
const engine = openLocalEngine(model)
afterAll(() => engine.close())

/** Two of the 24 steps; `test/models` goes through all of them. */
describe('BlockPruner on the embedded model, 16 x 256 tokens', () => {
  it('gives the perplexities of PyTorch for every candidate of the first steps, and its order', async () => {
    const inner = perplexityObjective(engine, rowsOf('tokens.json'))
    const perplexities: number[][] = []
    const objective: Objective = {
      unit: inner.unit,
      async evaluate(plans) {
        const losses = await inner.evaluate(plans)
        perplexities.push(losses.map(Math.exp))
        return losses
      },
    }
    const removed: string[] = []
    for await (const step of blockPruner(model, objective)) {
      removed.push(step.removed[0]!)
      if (removed.length === 2) break
    }
    expect(removed).toEqual(
      reference.order.slice(0, 2).map(([kind, layer]: ['mha' | 'mlp', number]) => `decoder.${layer}.${kinds[kind]}`),
    )
    for (const [k, step] of perplexities.entries()) {
      const expected = reference.steps[k] as [string, number, number][]
      expect(step).toHaveLength(expected.length)
      for (const [i, perplexity] of step.entries()) expectError(Math.abs(perplexity / expected[i]![2] - 1), 1.5e-6)
    }
  }, 120_000)

  it('gives the held-out perplexity of PyTorch', async () => {
    const [loss] = await perplexityObjective(engine, rowsOf('heldout_tokens.json')).evaluate([emptyPlan])
    expectError(Math.abs(Math.exp(loss!) / reference.heldout_dense_ppl - 1), 8.2e-7)
  })
})
