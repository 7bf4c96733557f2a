import { describe, expect, it } from 'vitest'
import { blockPruner } from '../../src/methods/blockPruner.ts'
import type { MethodContext } from '../../src/methods/method.ts'
import { optionsOf, searches, searchOf } from '../../src/methods/registry.ts'
import { emptyPlan, removedParameters } from '../../src/model/plan.ts'
import { type Moves, singleBlocks } from '../../src/search/candidates.ts'
import { stock } from '../../src/search/stock.ts'
import type { PruningPlan, RowObjective } from '../../src/types.ts'
import { collect, keyOf, toyLoss, toyModel, toyObjective } from './toy.ts'

const model = toyModel(5)
const loss = toyLoss(model, 6)
const noisy = () => toyObjective(8, (removed, row) => loss(removed) + 0.2 * Math.sin(row * 7 + removed.length) + row)
const isReached = (plan: PruningPlan) => removedParameters(model, plan) >= 8
const contextOf = (objective: RowObjective, moves: Moves) =>
  ({
    model,
    start: emptyPlan,
    kinds: ['attention', 'mlp'],
    keep: new Set(),
    objective,
    moves,
    seed: 7,
    isReached,
    signal: undefined,
  }) as unknown as MethodContext

/** An objective that remembers, as a journal does, and fails at the evaluation after the first `alive`. */
function remembering(memory: Map<string, Float64Array>, alive = Number.POSITIVE_INFINITY): RowObjective {
  const inner = noisy()
  let left = alive
  return {
    ...inner,
    async evaluate(plans) {
      return (await this.evaluateRows(plans)).map((values) => inner.combine(values))
    },
    async evaluateRows(plans, { range = [0, inner.rows] as const } = {}) {
      const found: Float64Array[] = []
      for (const plan of plans) {
        const key = `${range} ${keyOf(plan)}`
        const known = memory.get(key)
        if (known === undefined && left-- <= 0) throw new Error('killed')
        const values = known ?? (await inner.evaluateRows([plan], { range }))[0]!
        memory.set(key, values)
        found.push(values)
      }
      return found
    },
  }
}

describe('the exact search on single blocks', () => {
  it('is blockPruner, step by step', async () => {
    const published = await collect(blockPruner(model, noisy()))
    expect(await collect(searchOf('exact').run(contextOf(noisy(), singleBlocks(model)), {}))).toEqual(published)
  })
})

describe.each(
  searches.flatMap((search) => (['any', 'stock'] as const).map((layout) => [search.name, layout, search] as const)),
)('the search %s with layout %s', (name, layout, search) => {
  const options = optionsOf(search, name === 'evolve' ? { generations: 6 } : {})
  const endsItself = layout === 'stock' || search.endsItself === true
  const run = async (objective: RowObjective) => {
    const along = (moves: Moves) => search.run(contextOf(objective, moves), options)
    const steps = layout === 'any' ? along(singleBlocks(model)) : stock(model, objective, { search: along, isReached })
    return collect(steps, (plan) => !endsItself && isReached(plan))
  }

  it('reaches the budget and yields losses of all rows', async () => {
    const objective = noisy()
    const steps = await run(objective)
    expect(isReached(steps.at(-1)!.plan)).toBe(true)
    for (const { plan, loss } of steps) expect([loss]).toEqual(await objective.evaluate([plan]))
  })

  it('stopped anywhere and started again on what was evaluated gives the same steps', async () => {
    const whole = new Map<string, Float64Array>()
    const expected = await run(remembering(whole))
    for (const alive of [1, Math.floor(whole.size / 2), whole.size - 1]) {
      const memory = new Map<string, Float64Array>()
      await expect(run(remembering(memory, alive))).rejects.toThrow('killed')
      expect(await run(remembering(memory))).toEqual(expected)
      expect(memory.size).toBe(whole.size)
    }
  })
})
