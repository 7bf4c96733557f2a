import { describe, expect, it } from 'vitest'
import { walkBreadthFirst } from '../../src/engine/walk/breadthFirst.ts'
import { walkDepthFirst } from '../../src/engine/walk/depthFirst.ts'
import { type PrefixCache, prefixCache } from '../../src/engine/walk/prefixCache.ts'
import type { Walk } from '../../src/engine/walk/walk.ts'

/** A state: the stages that ran, and how many own it. */
interface Ran {
  readonly text: string
  owners: number
}

/** A model whose state is the list of stages that ran; counts the work, and who owns which state. */
function toyWalk(stages: number, removed: readonly (readonly number[])[]) {
  const ran: string[] = []
  const ends: string[] = []
  const made: Ran[] = []
  let alive = 0
  let most = 0
  const runs = {}
  const walk: Walk<Ran, object> = {
    stages,
    edit: (plan, stage) => (removed[plan]!.includes(stage) ? undefined : runs),
    async step(stage, _, state) {
      expect(state.owners).toBeGreaterThan(0)
      ran.push(`${state.text}>${stage}`)
      const next = { text: `${state.text}${stage}`, owners: 1 }
      made.push(next)
      most = Math.max(most, ++alive)
      return next
    },
    async arrive(plans, state) {
      expect(state.owners).toBeGreaterThan(0)
      for (const plan of plans) ends[plan] = state.text
    },
    retain(state) {
      state.owners += 1
    },
    release(state) {
      state.owners -= 1
      if (state.owners === 0) alive -= 1
      expect(state.owners).toBeGreaterThanOrEqual(0)
    },
  }
  return { walk, ran, ends, made, most: () => most }
}

const start = (): Ran => ({ text: '', owners: 0 })

async function depthFirst(
  stages: number,
  removed: readonly (readonly number[])[],
  cache?: PrefixCache<Ran, object>,
  prefix?: readonly number[],
) {
  const toy = toyWalk(stages, prefix === undefined ? removed : [...removed, prefix])
  const plans = removed.map((_, i) => i)
  await walkDepthFirst(toy.walk, plans, start(), { cache, prefix: prefix && removed.length })
  return toy
}

async function breadthFirst(stages: number, removed: readonly (readonly number[])[]) {
  const toy = toyWalk(stages, removed)
  await walkBreadthFirst(toy.walk, [...removed.keys()], start())
  return toy
}

const toyCache = () =>
  prefixCache<Ran, object>({ retain: (state) => void state.owners++, release: (state) => void state.owners-- })

const without = (stages: number, removed: readonly number[]) =>
  Array.from({ length: stages }, (_, i) => i)
    .filter((stage) => !removed.includes(stage))
    .join('')

// the edits of a toy are objects of one walk: a cache shared by walks needs them shared as well
describe.each([
  ['depth first', depthFirst],
  ['breadth first', breadthFirst],
])('a walk %s', (_, walk) => {
  it('brings every plan to the state of running it alone', async () => {
    const plans = [[], [0], [3], [1, 2], [4], [0, 4], [1, 2]]
    const { ends } = await walk(5, plans)
    expect(ends).toEqual(plans.map((removed) => without(5, removed)))
  })

  it('runs nothing twice from the same state', async () => {
    const { ran } = await walk(6, [[], [0], [1], [5], [1, 3], [1, 3]])
    expect(ran).toHaveLength(6 + 5 + 4 + 0 + 2)
    expect(new Set(ran).size).toBe(ran.length)
  })

  it('costs N suffixes for N candidates, not N models', async () => {
    const stages = 10
    const { ran } = await walk(
      stages,
      Array.from({ length: stages }, (_, i) => [i]),
    )
    const suffixes = (stages * (stages - 1)) / 2
    // besides the suffixes only what they have in common, up to the last candidate
    expect(ran).toHaveLength(suffixes + stages - 1)
  })

  it('lets go of every state that it made', async () => {
    const { made } = await walk(6, [[], [0], [2], [1, 4], [5]])
    expect(made.length).toBeGreaterThan(10)
    expect(made.filter(({ owners }) => owners !== 0)).toEqual([])
  })

  it('asks nothing of an empty list of plans', async () => {
    const { ran, ends } = await walk(3, [])
    expect({ ran, ends }).toEqual({ ran: [], ends: [] })
  })
})

describe('the order of a walk', () => {
  it('bounds the states alive: few depth first, one for each different model breadth first', async () => {
    const plans = Array.from({ length: 8 }, (_, i) => [i])
    expect((await depthFirst(8, plans)).most()).toBeLessThanOrEqual(3)
    expect((await breadthFirst(8, plans)).most()).toBeGreaterThanOrEqual(8)
  })

  it('needs every stage once breadth first, and none that all plans leave out', async () => {
    const toy = toyWalk(4, [[2], [0, 2]])
    const around: string[] = []
    const walk = {
      ...toy.walk,
      enter: (stage: number, next?: number) => void around.push(`in ${stage} before ${next}`),
      leave: async (stage: number) => void around.push(`out ${stage}`),
    }
    await walkBreadthFirst(walk, [0, 1], start())
    expect(around).toEqual(['in 0 before 1', 'out 0', 'in 1 before 3', 'out 1', 'in 3 before undefined', 'out 3'])
  })
})

describe('remembered states', () => {
  /** Walks that share a cache and the objects that say what is done to a stage. */
  function remembering(stages: number) {
    const cache = toyCache()
    const runs = {}
    return async (removed: readonly (readonly number[])[], prefix?: readonly number[]) => {
      const known = prefix === undefined ? removed : [...removed, prefix]
      const toy = toyWalk(stages, known)
      const walk = { ...toy.walk, edit: (plan: number, at: number) => (known[plan]!.includes(at) ? undefined : runs) }
      const plans = removed.map((_, i) => i)
      await walkDepthFirst(walk, plans, start(), { cache, prefix: prefix && removed.length })
      return { ran: toy.ran, ends: toy.ends, made: toy.made }
    }
  }

  it('are taken up to the block that the step before removed', async () => {
    const walk = remembering(6)
    await walk([[], [1], [2], [3]])
    const { ran, ends } = await walk([[3], [3, 1], [3, 4]])
    expect(ends).toEqual(['01245', '0245', '0125'])
    expect(ran).not.toContain('>0')
    expect(ran).not.toContain('01>2')
  })

  it('told which plan to remember, cost one candidate its suffix and stay for the next', async () => {
    const walk = remembering(6)
    expect(await walk([[4, 3]], [4])).toMatchObject({ ran: ['>0', '0>1', '01>2', '012>5'], ends: ['0125'] })
    expect(await walk([[4, 1]], [4])).toMatchObject({ ran: ['0>2', '02>3', '023>5'], ends: ['0235'] })
    // what comes behind the first candidate is computed when a candidate needs it
    expect(await walk([[4, 5]], [4])).toMatchObject({ ran: ['012>3'], ends: ['0123'] })
  })

  it('are not made of one plan or two, which nothing may follow', async () => {
    const walk = remembering(4)
    const { made } = await walk([[], [1]])
    expect(made.filter(({ owners }) => owners !== 0)).toEqual([])
    expect((await walk([[], [1]])).ran).toContain('>0')
  })

  it('of other removals are not taken', async () => {
    const walk = remembering(4)
    await walk([[0]], [0])
    const { ends } = await walk([[1]], [1])
    expect(ends).toEqual(['023'])
  })

  it('behind the first difference are let go as soon as another plan is followed', async () => {
    const walk = remembering(5)
    const first = await walk([[], [1], [2]])
    await walk([[2], [2, 1], [2, 3]])
    expect(first.made.filter(({ owners }) => owners !== 0).map(({ text }) => text)).toEqual(['0', '01'])
  })
})
