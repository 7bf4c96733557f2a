import { describe, expect, it } from 'vitest'
import { EngineError } from '../../src/errors.ts'
import { blockPruner } from '../../src/methods/blockPruner.ts'
import type { Model } from '../../src/model/model.ts'
import { planKey } from '../../src/model/plan.ts'
import type { Block, BlockId, BlockKind, Objective, PruningStep } from '../../src/types.ts'

const blocks = ([0, 1, 2] as const).flatMap((layer) =>
  (['attention', 'mlp'] as const).map(
    (kind) => ({ id: `decoder.${layer}.${kind}`, kind, stack: 'decoder', layer }) as unknown as Block,
  ),
)
const model = { id: 'toy', blocks } as unknown as Model

/** Losses by hand; a plan that is not in the table costs 9. */
function table(losses: Readonly<Record<string, number>>): Objective & { readonly asked: string[][] } {
  const byKey = new Map(Object.entries(losses).map(([ids, loss]) => [ids.split(' ').sort().join(' '), loss]))
  const asked: string[][] = []
  return {
    unit: 'nats per token',
    asked,
    async evaluate(plans) {
      asked.push(plans.map((plan) => plan.blocks.at(-1)!))
      return plans.map((plan) => byKey.get(planKey(plan).split('|')[0]!) ?? 9)
    },
  }
}

async function run(objective: Objective, steps: number, kinds?: BlockKind[]): Promise<PruningStep[]> {
  const found: PruningStep[] = []
  for await (const step of blockPruner(model, objective, kinds ? { kinds } : {})) {
    found.push(step)
    if (found.length === steps) break
  }
  return found
}

const ids = (...names: string[]) => names as BlockId[]

describe('BlockPruner', () => {
  it('asks for all attention blocks before all mlp blocks, in layer order', async () => {
    const objective = table({})
    await run(objective, 1)
    expect(objective.asked[0]).toEqual(
      [0, 1, 2].map((l) => `decoder.${l}.attention`).concat([0, 1, 2].map((l) => `decoder.${l}.mlp`)),
    )
  })

  it('removes the block with the lowest loss, then the best one given that', async () => {
    const objective = table({
      'decoder.1.mlp': 2,
      'decoder.0.attention': 3,
      'decoder.0.attention decoder.1.mlp': 5,
      'decoder.2.mlp decoder.1.mlp': 4,
    })
    const steps = await run(objective, 2)
    expect(steps.map(({ removed }) => removed)).toEqual([ids('decoder.1.mlp'), ids('decoder.2.mlp')])
    expect(steps.map(({ loss }) => loss)).toEqual([2, 4])
    expect(steps[0]!.runnerUp).toEqual({ block: 'decoder.0.attention', loss: 3 })
    expect(steps[1]!.plan.blocks).toEqual(ids('decoder.1.mlp', 'decoder.2.mlp'))
  })

  it('takes the first of equal losses: attention before mlp, the lower layer before the higher', async () => {
    const first = await run(table({ 'decoder.2.attention': 1, 'decoder.0.mlp': 1 }), 1)
    expect(first[0]!.removed).toEqual(ids('decoder.2.attention'))
    expect(first[0]!.runnerUp).toEqual({ block: 'decoder.0.mlp', loss: 1 })
    expect((await run(table({}), 1))[0]!.removed).toEqual(ids('decoder.0.attention'))
  })

  it('never chooses a NaN or an infinite loss', async () => {
    const losses = {
      'decoder.0.attention': Number.NaN,
      'decoder.1.attention': Number.NEGATIVE_INFINITY * 0,
      'decoder.2.mlp': 7,
    }
    expect((await run(table(losses), 1))[0]!.removed).toEqual(ids('decoder.2.mlp'))
  })

  it('is an error when no candidate has a finite loss', async () => {
    const objective: Objective = { unit: '', evaluate: async (plans) => plans.map(() => Number.NaN) }
    await expect(run(objective, 1)).rejects.toThrow(EngineError)
  })

  it('stops when no block of the kinds asked for is left', async () => {
    expect(await run(table({}), 99)).toHaveLength(6)
    const steps = await run(table({}), 99, ['mlp'])
    expect(steps.map(({ removed }) => removed[0])).toEqual(ids('decoder.0.mlp', 'decoder.1.mlp', 'decoder.2.mlp'))
    expect(steps.at(-1)!.runnerUp).toBeUndefined()
  })
})
