import { describe, expect, it } from 'vitest'
import { greedyPasses } from '../../src/methods/greedy.ts'
import { methodOf, optionsOf, searchOf } from '../../src/methods/registry.ts'
import { emptyPlan } from '../../src/model/plan.ts'
import { foretell, scaleOf } from '../../src/run/foretell.ts'
import { movesFor } from '../../src/search/candidates.ts'
import { fast } from '../../src/search/fast.ts'
import { collect, toyLoss, toyModel, toyObjective } from '../search/toy.ts'

const named = (search: string, given = {}) => ({
  method: searchOf(search),
  options: optionsOf(searchOf(search), given),
})
const scale = { blocks: 60, layers: 30, steps: 20, rows: 8 }

describe('what a run will cost', () => {
  it('is the sum over the steps of half a pass for each candidate left, for the published loop', async () => {
    const model = toyModel(30)
    const objective = toyObjective(8, toyLoss(model, 1))
    let asked = 0
    const counting = {
      ...objective,
      evaluate: async (plans: readonly { readonly blocks: readonly never[] }[]) => {
        asked += plans.length
        return objective.evaluate(plans as never)
      },
    }
    const context = { objective: counting, moves: movesFor(model, {}) } as never
    await collect(searchOf('exact').run(context, {}), ({ blocks }) => blocks.length === 20)
    expect(greedyPasses(60, 20)).toBe(asked / 2)
  })

  it('is near what fast takes', async () => {
    const model = toyModel(30)
    const loss = toyLoss(model, 2)
    const objective = toyObjective(8, (removed, row) => loss(removed) + 0.05 * Math.sin(row * 7 + removed.length) + row)
    await collect(fast(model, objective), ({ blocks }) => blocks.length === 20)
    const passes = objective.work / 8 / 2
    const { passes: told } = foretell(named('fast'), [], scale, 1, 0)
    expect(told / passes).toBeGreaterThan(0.4)
    expect(told / passes).toBeLessThan(2.5)
  })

  it('names the cheapest other search where it takes half as long or less', () => {
    const others = ['fast', 'beam', 'swap'].map((name) => named(name, name === 'swap' ? { patience: 8 } : {}))
    const exact = foretell(named('exact'), others, scale, 2, 1e9)
    expect(exact).toMatchObject({ seconds: exact.passes * 2, steps: 20, memoryBytes: 1e9, cheaper: { name: 'fast' } })
    expect(exact.cheaper!.seconds).toBeLessThan(exact.seconds / 2)
    expect(foretell(named('fast'), others, scale, 2, 1e9).cheaper).toBeUndefined()
    // one that says nothing takes a pass a step
    const random = { method: methodOf('random'), options: {} }
    expect(foretell(random, [], scale, 2, 1e9).passes).toBe(21)
  })

  it('knows how many blocks reach the budget', () => {
    const model = toyModel(6)
    const most = { ...emptyPlan, blocks: model.blocks.map(({ id }) => id) }
    expect(scaleOf(model, most, 4, ({ blocks }) => blocks.length >= 5)).toEqual({
      blocks: 12,
      layers: 6,
      steps: 5,
      rows: 4,
    })
  })
})
