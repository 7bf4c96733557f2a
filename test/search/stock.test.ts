import { describe, expect, it } from 'vitest'
import { emptyPlan } from '../../src/model/plan.ts'
import { adjacentBlocks, alternates, wholeLayers } from '../../src/search/candidates.ts'
import { fast } from '../../src/search/fast.ts'
import { stock } from '../../src/search/stock.ts'
import { swap } from '../../src/search/swap.ts'
import type { BlockId, PruningPlan } from '../../src/types.ts'
import { collect, toyLoss, toyModel, toyObjective } from './toy.ts'

const model = toyModel(5)
const isReached = (plan: PruningPlan) => plan.blocks.length >= 4

/** All plans of `size` blocks whose survivors alternate, by enumeration. */
function stockPlans(size: number): BlockId[][] {
  const plans: BlockId[][] = []
  for (let set = 0; set < 2 ** model.blocks.length; set++) {
    const isGone = model.blocks.map((_, i) => (set & (1 << i)) !== 0)
    const left = model.blocks.filter((_, i) => !isGone[i]).map(({ kind }) => kind)
    if (left.length !== model.blocks.length - size) continue
    if (left.every((kind, i) => kind === (i % 2 === 0 ? 'attention' : 'mlp'))) {
      plans.push(model.blocks.filter((_, i) => isGone[i]).map(({ id }) => id))
    }
  }
  return plans
}

describe('stock plans', () => {
  it('of one step are all plans of two blocks that alternate', () => {
    const pairs = adjacentBlocks(model).removals(emptyPlan)
    expect(pairs.map((pair) => [...pair].sort())).toEqual(expect.arrayContaining(stockPlans(2).map((p) => p.sort())))
    expect(pairs).toHaveLength(stockPlans(2).length)
  })

  it('are known by their survivors', () => {
    for (const size of [2, 4]) {
      for (const blocks of stockPlans(size)) expect(alternates(model, { blocks, units: {} })).toBe(true)
    }
    expect(alternates(model, { blocks: ['decoder.0.mlp'], units: {} })).toBe(false)
    expect(alternates(model, { blocks: ['decoder.0.attention', 'decoder.1.mlp'], units: {} })).toBe(false)
  })

  it('alternate after every step and are no worse than whole layers on the check rows', async () => {
    for (const seed of [1, 2, 3, 4, 5, 6]) {
      const loss = toyLoss(model, seed)
      const [objective, check] = [toyObjective(8, loss), toyObjective(4, loss)]
      const search = ({ removals }: ReturnType<typeof adjacentBlocks>) =>
        fast(model, objective, { candidates: removals })
      const steps = await collect(stock(model, check, { search, isReached }))
      for (const { plan } of steps) expect(alternates(model, plan)).toBe(true)
      const layers = await collect(search(wholeLayers(model)), isReached)
      expect(steps.at(-1)!.loss).toBeLessThanOrEqual(layers.at(-1)!.loss)
      expect(steps.at(-1)!.loss).toBeGreaterThanOrEqual(Math.min(...stockPlans(4).map(loss)) - 1e-12)
    }
  })

  it('stay alternating through exchanges, which reach the optimum of most toys', async () => {
    let optimal = 0
    for (const seed of [1, 2, 3, 4, 5, 6]) {
      const loss = toyLoss(model, seed)
      const objective = toyObjective(8, loss)
      const search = (moves: ReturnType<typeof adjacentBlocks>) =>
        swap(model, objective, { from: fast(model, objective, { candidates: moves.removals }), isReached, moves })
      const steps = await collect(stock(model, objective, { search, isReached }))
      for (const { plan } of steps) expect(alternates(model, plan)).toBe(true)
      if (steps.at(-1)!.loss < Math.min(...stockPlans(4).map(loss)) + 1e-12) optimal += 1
    }
    expect(optimal).toBeGreaterThanOrEqual(4)
  })

  it('take no step to a plan that is not stock for another reason, forth or back', async () => {
    const isStock = (plan: PruningPlan) =>
      plan.blocks.includes('decoder.0.mlp') === plan.blocks.includes('decoder.0.attention')
    for (const seed of [1, 2, 3, 4, 5, 6]) {
      const objective = toyObjective(8, toyLoss(model, seed))
      const search = (moves: ReturnType<typeof adjacentBlocks>) =>
        swap(model, objective, { from: fast(model, objective, { candidates: moves.removals }), isReached, moves })
      const steps = await collect(stock(model, objective, { search, isReached, isStock }))
      expect(steps.length).toBeGreaterThan(0)
      for (const { plan } of steps) expect(isStock(plan)).toBe(true)
    }
  })
})
