import { describe, expect, it } from 'vitest'
import { checkStep, partedMessage } from '../../src/run/guard.ts'
import type { BlockId, PruningStep } from '../../src/types.ts'
import { toyObjective } from '../search/toy.ts'

const [a, b, c] = ['decoder.0.attention', 'decoder.0.mlp', 'decoder.1.mlp'] as const
const step: PruningStep = {
  plan: { blocks: [a, b], units: {} },
  removed: [b],
  loss: 1,
  runnerUp: { block: c, loss: 1.1 },
}
/** Loss of `worse` on every row, give or take what the rows differ. */
const check = (worse: BlockId, by: number) =>
  toyObjective(8, (removed, row) => row + (removed.includes(worse) ? by + 0.1 * (row % 2) : 0))

describe('the guard of a step', () => {
  it('says that the curves part where the runner-up is better on every check row', async () => {
    const checked = await checkStep(check(b, 1), step)
    expect(checked).toMatchObject({ parted: true, loss: 4.55, runnerUpLoss: 3.5 })
    expect(partedMessage(7, step, checked)).toMatch(/^step 7 \(decoder.0.mlp\): .* 4.5500 is worse .* 3.5000 by more/)
  })

  it('says nothing where the step is better, or worse by less than two standard errors', async () => {
    expect(await checkStep(check(c, 1), step)).not.toHaveProperty('parted')
    expect(await checkStep(check(b, -0.04), step)).not.toHaveProperty('parted')
  })

  it('measures the runner-up of a pair with both its blocks', async () => {
    const pair: PruningStep = { ...step, runnerUp: { block: a, others: [c], loss: 2 } }
    const objective = toyObjective(4, (removed) =>
      removed.join() === `${a},${a},${c}` || removed.length === 3 ? 5 : 1,
    )
    expect((await checkStep(objective, pair)).runnerUpLoss).toBe(5)
  })

  it('has nothing to compare for exchanges and for steps without a runner-up', async () => {
    expect(await checkStep(check(b, 1), { ...step, restored: [c] })).not.toHaveProperty('runnerUpLoss')
    const { runnerUp: _, ...only } = step
    expect(await checkStep(check(b, 1), only)).not.toHaveProperty('runnerUpLoss')
  })
})
