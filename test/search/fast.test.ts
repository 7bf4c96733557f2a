import { describe, expect, it } from 'vitest'
import { EngineError } from '../../src/errors.ts'
import { blockPruner } from '../../src/methods/blockPruner.ts'
import { fast } from '../../src/search/fast.ts'
import type { PruningPlan } from '../../src/types.ts'
import { collect, toyLoss, toyModel, toyObjective } from './toy.ts'

const model = toyModel(15)
const blocks = (n: number) => (plan: PruningPlan) => plan.blocks.length >= n

/** Dearer the more is gone, the same on every row but for a level of the row. */
const agreeing = (seed: number) => (removed: readonly string[], row: number) => {
  const weight = (id: string) =>
    0.1 + (((Number(id.split('.')[1]) * 2 + (id.endsWith('mlp') ? 1 : 0)) * 7919 + seed * 104729) % 101) / 100
  const cost = removed.reduce((sum, id) => sum + weight(id), 0)
  return row + cost + 0.05 * cost ** 2
}

describe('the fast search', () => {
  it('finds the plan of the exact search where rows agree and increases only grow', async () => {
    for (const seed of [1, 2, 3]) {
      const exact = await collect(blockPruner(model, toyObjective(8, agreeing(seed))), blocks(10))
      const found = await collect(fast(model, toyObjective(8, agreeing(seed))), blocks(10))
      expect(found.map(({ removed }) => removed)).toEqual(exact.map(({ removed }) => removed))
      expect(found.map(({ loss }) => loss)).toEqual(exact.map(({ loss }) => loss))
    }
  })

  it('names the runner-up of every step but the last: measured on all rows, or said to be an estimate', async () => {
    let [measured, estimated] = [0, 0]
    for (const seed of [1, 2, 3]) {
      const loss = toyLoss(model, seed)
      const objective = toyObjective(
        8,
        (removed, row) => loss(removed) + 0.1 * Math.sin(row * 7 + removed.length) + row,
      )
      const steps = await collect(fast(model, objective), blocks(30))
      expect(steps).toHaveLength(30)
      for (const { plan, removed, loss: own, runnerUp } of steps.slice(0, -1)) {
        expect(runnerUp!.loss).toBeGreaterThanOrEqual(own)
        if (runnerUp!.estimated) estimated += 1
        else {
          measured += 1
          const rival = { ...plan, blocks: [...plan.blocks.filter((id) => !removed.includes(id)), runnerUp!.block] }
          expect(await objective.evaluate([rival])).toEqual([runnerUp!.loss])
        }
      }
      expect(steps.at(-1)!.runnerUp).toBeUndefined()
    }
    expect(measured).toBeGreaterThan(5)
    expect(estimated).toBeGreaterThan(5)
  })

  it('needs a tenth of the evaluated rows', async () => {
    const large = toyModel(30)
    const [exactly, quickly] = [toyObjective(8, agreeing(1)), toyObjective(8, agreeing(1))]
    await collect(blockPruner(large, exactly), blocks(20))
    await collect(fast(large, quickly), blocks(20))
    expect(exactly.work).toBe(8 * Array.from({ length: 20 }, (_, k) => 60 - k).reduce((a, b) => a + b))
    // measured: 0.0814
    expect(quickly.work / exactly.work).toBeLessThan(0.1)
  })

  it('yields losses of all rows and removes each block once, down to the last', async () => {
    const loss = toyLoss(model, 5)
    const noisy = (removed: readonly string[], row: number) =>
      loss(removed as never) * (1 + 0.1 * Math.sin(row * 5 + removed.length))
    const objective = toyObjective(6, noisy)
    const steps = await collect(fast(model, objective))
    expect(new Set(steps.at(-1)!.plan.blocks).size).toBe(model.blocks.length)
    for (const { plan, loss } of steps) expect([loss]).toEqual(await objective.evaluate([plan]))
  })

  it('does without racing on fewer than four rows', async () => {
    const exact = await collect(blockPruner(model, toyObjective(2, agreeing(4))), blocks(6))
    const found = await collect(fast(model, toyObjective(2, agreeing(4))), blocks(6))
    expect(found.at(-1)!.plan).toEqual(exact.at(-1)!.plan)
  })

  it('never removes what leaves no number, and fails where nothing else is left', async () => {
    const poisoned = toyObjective(8, (removed, row) =>
      removed.includes('decoder.0.mlp') ? Number.NaN : row + removed.length,
    )
    const steps = fast(toyModel(2), poisoned)
    const found = await collect(steps, blocks(3))
    expect(found.at(-1)!.plan.blocks).not.toContain('decoder.0.mlp')
    await expect(
      collect(
        fast(
          toyModel(1),
          toyObjective(8, () => Number.NaN),
        ),
      ),
    ).rejects.toThrow(EngineError)
  })
})
