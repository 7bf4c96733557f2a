import { describe, expect, it } from 'vitest'
import { removedParameters } from '../../src/model/plan.ts'
import { singleBlocks } from '../../src/search/candidates.ts'
import { fast } from '../../src/search/fast.ts'
import type { BlockId, PruningPlan } from '../../src/types.ts'
import { collect, toyLoss, toyModel, toyObjective } from './toy.ts'

const model = toyModel(5)
const moves = singleBlocks(model)
const isReached = (plan: PruningPlan) => removedParameters(model, plan) >= 8
const search = (loss: (removed: readonly BlockId[]) => number, floating: boolean, until = isReached) =>
  collect(
    fast(
      model,
      toyObjective(8, (removed, row) => loss(removed) + row),
      floating ? { floating: moves } : {},
    ),
    until,
  )

describe('the floating step of fast', () => {
  it('takes an attention back for an mlp, and ends lower than without', async () => {
    const larger = (plan: PruningPlan) => removedParameters(model, plan) >= 11
    let [forMlp, lower] = [0, 0]
    for (let seed = 1; seed <= 40; seed++) {
      const loss = toyLoss(model, seed)
      const [steps, plain] = [await search(loss, true, larger), await search(loss, false, larger)]
      const gone = new Set<string>()
      for (const { removed, restored = [], plan } of steps) {
        if (restored.some((id) => id.endsWith('attention')) && removed.at(-1)!.endsWith('mlp')) forMlp += 1
        // the steps say what became of every block
        for (const id of removed) gone.add(id)
        for (const id of restored) gone.delete(id)
        expect(new Set(plan.blocks)).toEqual(gone)
      }
      if (steps.at(-1)!.loss < plain.at(-1)!.loss) lower += 1
    }
    // measured: 4 of 40 each
    expect(forMlp).toBeGreaterThanOrEqual(4)
    expect(lower).toBeGreaterThanOrEqual(4)
  })

  it('never leaves more than the step without it, and is the plain search where nothing comes back', async () => {
    let exchanged = 0
    for (const seed of [1, 2, 3, 4, 5, 6]) {
      const loss = toyLoss(model, seed)
      const steps = await search(loss, true)
      let before: PruningPlan = { blocks: [], units: {} }
      for (const { plan, removed, restored, loss: found } of steps) {
        const latest = { ...before, blocks: [...before.blocks, removed[0]!] }
        expect(removedParameters(model, plan)).toBeGreaterThanOrEqual(removedParameters(model, latest))
        expect(found).toBeLessThanOrEqual(loss(latest.blocks) + 3.5 + 1e-12)
        if (restored) exchanged += 1
        before = plan
      }
      if (steps.every(({ restored }) => restored === undefined)) {
        const plain = await search(loss, false)
        expect(steps.map(({ plan }) => plan)).toEqual(plain.map(({ plan }) => plan))
      }
    }
    expect(exchanged).toBeGreaterThan(0)
  })
})
