import { describe, expect, it } from 'vitest'
import { describeExport } from '../../src/export/huggingface.ts'
import { loadModel } from '../../src/model/load.ts'
import { emptyPlan } from '../../src/model/plan.ts'
import { type Budget, budgetFlag, checkBudget, isReached } from '../../src/run/budget.ts'
import { cacheBytesPerToken, exportedBytes } from '../../src/run/cost.ts'
import type { BlockId, BlockKind, PruningPlan } from '../../src/types.ts'
import { openFixture } from '../model/openFixture.ts'

const model = await loadModel('embedded')
const kinds: BlockKind[] = ['attention', 'mlp']
const without = (...blocks: BlockId[]): PruningPlan => ({ blocks, units: {} })

describe('the cost of a plan', () => {
  it('in bytes is what its export writes, a file of 2 bytes a parameter', () => {
    for (const plan of [emptyPlan, without('decoder.0.mlp'), without('decoder.0.attention', 'decoder.0.mlp')]) {
      const { pruned } = describeExport(model, plan)
      expect(exportedBytes(model, plan)).toBe(2 * pruned.parameters)
    }
  })

  it('in cache is keys and values of the attentions left', () => {
    const { K, E } = model.sizes as { K: number; E: number }
    expect(cacheBytesPerToken(model, emptyPlan)).toBe(12 * 2 * 2 * K * E)
    expect(cacheBytesPerToken(model, without('decoder.3.attention', 'decoder.3.mlp'))).toBe(11 * 2 * 2 * K * E)
    const narrower = { blocks: [], units: { 'decoder.3.attention': [0] } }
    expect(cacheBytesPerToken(model, narrower)).toBe((12 * K - 1) * 2 * 2 * E)
  })
})

describe('a budget', () => {
  const dense = { size: exportedBytes(model, emptyPlan) / 1e6, kvBytes: cacheBytesPerToken(model, emptyPlan) }

  it('of megabytes is reached by what is small enough, of cache by enough attentions', () => {
    const mlp = without('decoder.0.mlp')
    const size = exportedBytes(model, mlp) / 1e6
    expect([emptyPlan, mlp].map((plan) => isReached(model, plan, { size }))).toEqual([false, true])
    const kvBytes = dense.kvBytes * (11 / 12)
    const plans = [mlp, without('decoder.0.attention')]
    expect(plans.map((plan) => isReached(model, plan, { kvBytes }))).toEqual([false, true])
  })

  it('that cannot be reached, or is reached by the dense model, is an error that says the range', () => {
    const impossible: [Budget, RegExp][] = [
      [{ remove: 25 }, /^--remove 25: expected a whole number from 1 to 24/],
      [{ ratio: 0.99 }, /^--ratio 0.99: expected more than 0 and at most 0\.\d+/],
      [{ size: 0.01 }, /^--size 0.01: expected megabytes from \d/],
      [{ size: dense.size }, /to less than 5\.\d+, with all of them/],
      [{ kvBytes: dense.kvBytes }, /^--kv-bytes \d+: expected bytes for a token from 0, /],
      [{ size: Number.NaN }, /^--size NaN/],
    ]
    for (const [budget, message] of impossible) expect(() => checkBudget(model, budget, kinds)).toThrow(message)
    expect(() => checkBudget(model, { kvBytes: 0 }, kinds)).not.toThrow()
    expect(() => checkBudget(model, { kvBytes: 0 }, ['mlp'])).toThrow(/--kv-bytes 0/)
    expect(() => checkBudget(model, { remove: 1 }, ['crossAttention'])).toThrow(
      /^--kinds crossAttention: .* has no such blocks, expected some of attention, mlp/,
    )
  })

  it('of cache is an error for an encoder, which has none', async () => {
    const { model: bert } = await openFixture('tiny-random/bert')
    expect(() => checkBudget(bert, { kvBytes: 100 }, ['attention'])).toThrow(/^--kv-bytes 100: .* is an encoder/)
    await bert.weights.close()
  })

  it('is named as on the command line', () => {
    expect(budgetFlag({ kvBytes: 3 })).toBe('--kv-bytes 3')
  })
})
