import { mkdtempSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Command } from 'commander'
import { describe, expect, it, vi } from 'vitest'
import { withMethodOptions } from '../../src/cli/methodOptions.ts'
import { methodOf } from '../../src/methods/registry.ts'
import { pruneAny } from '../../src/run/pruneModel.ts'

// a method is its file: all of it stands here, and the line in the list is the one that is added below
vi.mock('../../src/methods/list.ts', async (original) => {
  const { defineMethod } = await import('../../src/methods/method.ts')
  const { removeInOrder } = await import('../../src/methods/removeInOrder.ts')
  const { singleRemovable, unitsOf } = await import('../../src/methods/units.ts')
  const toy = defineMethod({
    name: 'toy-every-other',
    role: 'method',
    title: 'Every other block',
    unit: 'block',
    cost: 'none',
    options: {
      stride: { type: 'number', from: 1, to: 9, whole: true, default: 2, says: 'which of the blocks go first' },
      backwards: { type: 'flag', default: false, says: 'begin at the last block' },
    },
    removable: singleRemovable,
    run({ model, objective, ...context }, { stride, backwards }) {
      const groups = unitsOf(model, 'block', context)
      const inTurn = backwards ? groups.toReversed() : groups
      return removeInOrder(
        objective,
        inTurn.map((blocks, i) => ({ blocks, score: i % stride })),
        context,
      )
    },
  })
  return { ...(await original<object>()), toy }
})

describe('a method that is one file and one line', () => {
  it('has its flags on the command line', () => {
    const command = withMethodOptions(new Command())
    expect(command.options.map(({ long }) => long)).toEqual(expect.arrayContaining(['--stride', '--backwards']))
  })

  it('prunes a model, and its plan says with which options', async () => {
    const output = mkdtempSync(join(tmpdir(), 'toy-method-'))
    const request = {
      model: 'embedded',
      output,
      method: 'toy-every-other',
      methodOptions: { stride: 3 },
      budget: { remove: 2 },
      calibration: { dataset: 'embedded', nsamples: 1, seqlen: 16, seed: 1 },
      seed: 1,
      export: false,
    }
    const { file } = await pruneAny(request)
    expect(file.method).toBe('toy-every-other')
    expect(file.options).toMatchObject({ stride: 3, backwards: false })
    expect(file.plan.blocks).toEqual(['decoder.0.attention', 'decoder.3.attention'])
    await expect(pruneAny({ ...request, methodOptions: { stride: 10 } })).rejects.toThrow(
      '--stride 10: expected a whole number from 1 to 9',
    )
    expect(() => methodOf('every-other')).toThrow(/did you mean toy-every-other\?/)
  })
})
