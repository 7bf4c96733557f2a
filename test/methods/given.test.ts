import { describe, expect, it } from 'vitest'
import { PlanError } from '../../src/errors.ts'
import type { MethodContext } from '../../src/methods/method.ts'
import { methodMeant, methodOf, methods, optionsOf } from '../../src/methods/registry.ts'
import type { Model } from '../../src/model/model.ts'
import { emptyPlan } from '../../src/model/plan.ts'
import { movesFor } from '../../src/search/candidates.ts'
import type { BlockId } from '../../src/types.ts'
import { id, removedOf, take, toyModel, toyObjective } from './toy.ts'

const model = {
  ...toyModel(6),
  architecture: { stacks: { decoder: { layers: () => 6, blocks: [{ kind: 'attention' }, { kind: 'mlp' }] } } },
  config: {},
} as unknown as Model
const scope = (keep: readonly BlockId[] = []) => ({
  model,
  start: emptyPlan,
  kinds: ['attention', 'mlp'] as const,
  keep: new Set(keep),
})
const contextOf = (keep: readonly BlockId[] = []) =>
  ({
    ...scope(keep),
    objective: toyObjective((removed) => removed.size),
    moves: movesFor(model, { keep: new Set(keep) }),
    seed: 1,
    signal: undefined,
  }) as unknown as MethodContext

describe('blocks chosen by hand', () => {
  const given = methodOf('given')

  it('go part by part, whole layers and ranges of layers too, each block once', async () => {
    const options = { removeBlocks: ['decoder.1', 'decoder.3.mlp', 'decoder.1-2'] }
    expect(removedOf(await take(given.run(contextOf(), options)))).toEqual([
      'decoder.1.attention decoder.1.mlp',
      'decoder.3.mlp',
      'decoder.2.attention decoder.2.mlp',
    ])
    expect(given.removable(scope(), options)).toHaveLength(5)
  })

  it('are refused where the model has none, where one is to stay, and where none is named', () => {
    const removing = (removeBlocks: string[], keep: BlockId[] = []) => given.removable(scope(keep), { removeBlocks })
    expect(() => removing(['decoder.9'])).toThrow(/--remove-blocks: "decoder.9" names layer 9/)
    expect(() => removing(['decoder.2'], [id('decoder.2.mlp')])).toThrow(/decoder.2.mlp is to be kept/)
    expect(() => removing([])).toThrow(PlanError)
  })

  it('are what --remove-blocks without a method means', () => {
    expect(methodMeant({ removeBlocks: ['decoder.1'] }).name).toBe('given')
    expect(methodMeant({}).name).toBe('blockpruner')
    expect(() => optionsOf(given, { removeBlocks: 'decoder.1' })).toThrow(/expected a list of names/)
  })
})

describe('blocks that are to stay', () => {
  const keep = [id('decoder.0.attention'), id('decoder.5.mlp'), id('decoder.2.mlp')]
  /** Methods that remove blocks by what is known without an engine. */
  const cases = methods.filter(({ name }) => ['blockpruner', 'sleb', 'drop-tail', 'magnitude', 'random'].includes(name))

  it.each(cases.map((method) => [method.name, method] as const))('are never removed by %s', async (_, method) => {
    const options = optionsOf(method)
    const steps = await take(method.run(contextOf(keep), options))
    const gone = steps.at(-1)!.plan.blocks
    expect(gone.length).toBeGreaterThan(5)
    expect(gone.filter((block) => keep.includes(block))).toEqual([])
    expect(new Set(gone)).toEqual(new Set(method.removable(scope(keep), options)))
  })
})
