import { describe, expect, it } from 'vitest'
import { createTrunk, type Trunk, visitDepthFirst } from '../../src/engine/visit.ts'

/** A model whose state is the list of stages that ran; counts the work. */
async function visit(
  stages: number,
  removed: readonly (readonly number[])[],
  trunk?: Trunk<string>,
  along?: readonly number[],
) {
  const ran: string[] = []
  const ends: string[] = []
  const known = along === undefined ? removed : [...removed, along]
  await visitDepthFirst<string>(
    {
      stages,
      variant: (plan, stage) => (known[plan]!.includes(stage) ? undefined : ''),
      step: async (stage, _, state) => {
        ran.push(`${state}>${stage}`)
        return `${state}${stage}`
      },
      arrive: async (plans, state) => {
        for (const plan of plans) ends[plan] = state
      },
      ...(trunk && { trunk }),
      along: along && removed.length,
    },
    removed.map((_, i) => i),
    '',
  )
  return { ran, ends }
}

const without = (stages: number, removed: readonly number[]) =>
  Array.from({ length: stages }, (_, i) => i)
    .filter((stage) => !removed.includes(stage))
    .join('')

describe('the depth-first visit', () => {
  it('brings every plan to the state of running it alone', async () => {
    const plans = [[], [0], [3], [1, 2], [4], [0, 4], [1, 2]]
    const { ends } = await visit(5, plans)
    expect(ends).toEqual(plans.map((removed) => without(5, removed)))
  })

  it('runs nothing twice from the same state', async () => {
    const { ran } = await visit(6, [[], [0], [1], [5], [1, 3], [1, 3]])
    expect(new Set(ran).size).toBe(ran.length)
  })

  it('costs N suffixes for N candidates, not N models', async () => {
    const stages = 10
    const { ran } = await visit(
      stages,
      Array.from({ length: stages }, (_, i) => [i]),
    )
    const suffixes = (stages * (stages - 1)) / 2
    // besides the suffixes only the trunk up to the last candidate
    expect(ran).toHaveLength(suffixes + stages - 1)
  })

  it('takes the trunk of the step before up to the removed block', async () => {
    const trunk = createTrunk<string>()
    await visit(6, [[], [1], [2], [3]], trunk)
    const { ran, ends } = await visit(6, [[3], [3, 1], [3, 4]], trunk)
    expect(ends).toEqual(['01245', '0245', '0125'])
    expect(ran).not.toContain('>0')
    expect(ran).not.toContain('01>2')
  })

  it('told which plan to remember, costs one candidate its suffix and keeps the trunk for the next', async () => {
    const trunk = createTrunk<string>()
    const first = await visit(6, [[4, 3]], trunk, [4])
    expect(first).toEqual({ ran: ['>0', '0>1', '01>2', '012>5'], ends: ['0125'] })
    const second = await visit(6, [[4, 1]], trunk, [4])
    expect(second).toEqual({ ran: ['0>2', '02>3', '023>5'], ends: ['0235'] })
    // the trunk beyond the first candidate is computed when a candidate needs it
    const third = await visit(6, [[4, 5]], trunk, [4])
    expect(third).toEqual({ ran: ['012>3'], ends: ['0123'] })
  })

  it('does not take a remembered state of other removals', async () => {
    const trunk = createTrunk<string>()
    await visit(4, [[0]], trunk)
    const { ends } = await visit(4, [[1]], trunk)
    expect(ends).toEqual(['023'])
  })

  it('asks nothing of an empty list of plans', async () => {
    expect(await visit(3, [])).toEqual({ ran: [], ends: [] })
  })
})
