import { describe, expect, it } from 'vitest'
import { blockPruner } from '../../src/methods/blockPruner.ts'
import { removedParameters } from '../../src/model/plan.ts'
import { beam } from '../../src/search/beam.ts'
import { evolve } from '../../src/search/evolve.ts'
import { swap } from '../../src/search/swap.ts'
import type { BlockId, PruningPlan } from '../../src/types.ts'
import { collect, keyOf, toyLoss, toyModel, toyObjective } from './toy.ts'

const model = toyModel(5)
const isReached = (plan: PruningPlan) => removedParameters(model, plan) >= 8

/** The lowest loss of any plan that removes at least `least` parameters, by enumeration. */
function optimum(loss: (removed: readonly BlockId[]) => number, least: number): number {
  let best = Number.POSITIVE_INFINITY
  for (let set = 0; set < 2 ** model.blocks.length; set++) {
    const blocks = model.blocks.filter((_, i) => set & (1 << i)).map(({ id }) => id)
    if (removedParameters(model, { blocks, units: {} }) >= least) best = Math.min(best, loss(blocks))
  }
  return best
}

const seeds = [1, 2, 3, 4, 5, 6]

describe.each(['swap', 'evolve'] as const)('%s', (name) => {
  const refine = (seed: number, rows = 8) => {
    const loss = toyLoss(model, seed)
    const objective = toyObjective(rows, (removed, row) => loss(removed) + row)
    const start = blockPruner(model, objective)
    const steps =
      name === 'swap'
        ? swap(model, objective, { from: start, isReached })
        : evolve(model, objective, { from: start, isReached, seed, offspring: 6, generations: 12 })
    return { loss, steps: collect(steps), objective }
  }

  it('is never worse than its start, nor larger, and yields falling losses', async () => {
    let better = 0
    for (const seed of seeds) {
      const steps = await refine(seed).steps
      const reached = steps.findIndex(({ plan }) => isReached(plan))
      const [start, end] = [steps[reached]!, steps.at(-1)!]
      expect(removedParameters(model, end.plan)).toBeGreaterThanOrEqual(removedParameters(model, start.plan))
      const losses = steps.slice(reached).map(({ loss }) => loss)
      expect(losses).toEqual(losses.toSorted((a, b) => b - a))
      if (end.loss < start.loss) better += 1
    }
    // measured: 1 of 6 by swap, more by evolve
    expect(better).toBeGreaterThan(0)
  })

  it('says of every step what went and what came back', async () => {
    for (const seed of seeds) {
      let known = new Set<BlockId>()
      for (const { plan, removed, restored = [] } of await refine(seed).steps) {
        known = new Set([...known, ...removed].filter((id) => !restored.includes(id)))
        expect([...plan.blocks].sort()).toEqual([...known].sort())
      }
    }
  })

  it('gives the same plan for the same seed', async () => {
    const [a, b] = [await refine(3).steps, await refine(3).steps]
    expect(a).toEqual(b)
  })

  it('does without racing on fewer than four rows', async () => {
    const [few, many] = [await refine(2, 2).steps, await refine(2).steps]
    const start = many.find(({ plan }) => isReached(plan))!
    expect(few.at(-1)!.loss).toBeLessThanOrEqual(start.loss)
  })
})

describe('swap', () => {
  it('ends where no exchange of one block for another improves', async () => {
    for (const seed of seeds) {
      const loss = toyLoss(model, seed)
      const objective = toyObjective(8, (removed) => loss(removed))
      const steps = await collect(swap(model, objective, { from: blockPruner(model, objective), isReached }))
      const least = removedParameters(model, steps.find(({ plan }) => isReached(plan))!.plan)
      const { plan, loss: final } = steps.at(-1)!
      for (const back of plan.blocks) {
        for (const { id } of model.blocks.filter((block) => !plan.blocks.includes(block.id))) {
          const blocks = [...plan.blocks.filter((other) => other !== back), id]
          if (removedParameters(model, { blocks, units: {} }) < least) continue
          expect(loss(blocks)).toBeGreaterThanOrEqual(final - 1e-12)
        }
      }
    }
  })

  it('takes what fits back with what is larger, and lets more go with what is smaller', async () => {
    // one mlp has the parameters of three attentions; from the attentions alone, no exchange of one for one reaches the optimum
    const cost = (id: BlockId) => (id.endsWith('attention') ? 1 : id === 'decoder.4.mlp' ? 0.5 : 10)
    const objective = toyObjective(8, (removed) => removed.reduce((sum, id) => sum + cost(id), 0))
    const attentions = blockPruner(model, objective, { kinds: ['attention'] })
    const reached = (plan: PruningPlan) => removedParameters(model, plan) >= 3
    const toMlp = await collect(swap(model, objective, { from: attentions, isReached: reached }))
    expect(toMlp.at(-1)!.plan.blocks).toEqual(['decoder.4.mlp'])
    expect(toMlp.at(-1)!.restored).toHaveLength(3)

    const dear = toyObjective(8, (removed) => removed.reduce((sum, id) => sum + (id.endsWith('mlp') ? 10 : 1), 0))
    const mlps = blockPruner(model, dear, { kinds: ['mlp'] })
    const toAttentions = await collect(swap(model, dear, { from: mlps, isReached: reached }))
    expect(toAttentions.at(-1)!.removed).toHaveLength(3)
    expect(toAttentions.at(-1)!.loss).toBe(3)
  })

  it('ends early for want of patience, without having tried all', async () => {
    const objective = () => toyObjective(8, toyLoss(model, 2))
    const run = async (patience?: number) => {
      const counted = objective()
      await collect(swap(model, counted, { from: blockPruner(model, objective()), isReached, patience }))
      return counted.work
    }
    const [impatient, patient] = [await run(1), await run()]
    expect(impatient).toBeLessThan(patient)
  })
})

describe('evolve', () => {
  it('finds the optimum of a small model where greedy does not', async () => {
    let [found, greedyFound] = [0, 0]
    for (const seed of seeds) {
      const loss = toyLoss(model, seed)
      const objective = toyObjective(8, (removed) => loss(removed))
      const steps = await collect(
        evolve(model, objective, {
          from: blockPruner(model, objective),
          isReached,
          seed,
          offspring: 6,
          generations: 12,
        }),
      )
      const start = steps.find(({ plan }) => isReached(plan))!
      const best = optimum(loss, removedParameters(model, start.plan))
      if (steps.at(-1)!.loss < best + 1e-9) found += 1
      if (start.loss < best + 1e-9) greedyFound += 1
    }
    expect(found).toBeGreaterThan(greedyFound)
    expect(found).toBeGreaterThanOrEqual(5)
  })
})

describe('beam', () => {
  const objective = (seed: number) => toyObjective(2, toyLoss(model, seed))

  it('of width 1 is the greedy loop, step by step', async () => {
    for (const seed of seeds) {
      const greedy = await collect(blockPruner(model, objective(seed)), isReached)
      expect(await collect(beam(model, objective(seed), { width: 1, isReached }))).toEqual(greedy)
    }
  })

  it('evaluates a set of blocks once however it came about', async () => {
    const asked: string[] = []
    const counting = objective(1)
    const evaluate = async (plans: readonly PruningPlan[]) => {
      asked.push(...plans.map(keyOf))
      return counting.evaluate(plans)
    }
    await collect(beam(model, { ...counting, evaluate }, { width: 6, isReached }))
    expect(new Set(asked).size).toBe(asked.length)
  })

  it('of great width finds the optimum among plans that reach the budget at their last step', async () => {
    const count = (plan: PruningPlan) => plan.blocks.length >= 3
    const loss = toyLoss(model, 4)
    const steps = await collect(beam(model, objective(4), { width: 1000, isReached: count }))
    const ids = model.blocks.map(({ id }) => id)
    const all = ids.flatMap((a, i) =>
      ids.slice(i + 1).flatMap((b, j) => ids.slice(i + j + 2).map((c) => loss([a, b, c]))),
    )
    expect(steps.at(-1)!.loss).toBeCloseTo(Math.min(...all), 12)
    expect(steps).toHaveLength(3)
  })
})
