import { describe, expect, it } from 'vitest'
import { cpuDevice } from '../../src/device/cpu.ts'
import { openMachine } from '../../src/engine/machine.ts'
import type { Measure } from '../../src/measures/machine.ts'
import { type MeasureName, type Measures, measures } from '../../src/measures/registry.ts'
import { emptyPlan, withoutBlock } from '../../src/model/plan.ts'
import { openFixture } from '../model/openFixture.ts'

describe('memory of states that is used again', () => {
  const asked: { [Name in MeasureName]?: Measures[Name]['options'] } = {
    tokenLoss: {},
    hiddenDistance: { by: 'meanSquared' },
    outputDistance: { by: 'js' },
    hiddenStates: {},
    logits: {},
    similarity: {
      by: 'cosine',
      spans: [
        ['decoder.0.attention', 'decoder.1.mlp'],
        ['decoder.1.mlp', 'decoder.1.mlp'],
      ],
    },
    channelStatistics: { blocks: ['decoder.1.attention', 'decoder.0.mlp'] },
  }

  it.each(['tiny-random/llama', 'tiny-random/gpt_neox'])('is read by nobody any more: %s', async (path) => {
    const { model, rows } = await openFixture(path)
    const plans = [emptyPlan, ...model.blocks.slice(0, 3).map(({ id }) => withoutBlock(emptyPlan, id))]
    const answers = async (poisonFreed: boolean) => {
      const device = cpuDevice({ threads: 1, poisonFreed })
      const machine = openMachine(model, { device })
      const found: unknown[] = []
      for (const [name, options] of Object.entries(asked)) {
        const isOfDense = name === 'similarity' || name === 'channelStatistics'
        const { measure } = measures[name as MeasureName] as Measure<unknown, unknown>
        const given = { rows, options, prefix: undefined, signal: undefined, onRows: undefined }
        found.push(await measure(machine, { ...given, plans: isOfDense ? [emptyPlan] : plans }))
        found.push(await measure(machine, { ...given, plans: isOfDense ? [emptyPlan] : plans.slice(1, 3) }))
      }
      await device.close()
      return found
    }
    const [usual, poisoned] = [await answers(false), await answers(true)]
    expect(usual).toHaveLength(14)
    expect(poisoned).toEqual(usual)
    expect(JSON.stringify(usual[0])).not.toContain('null')
    await model.weights.close()
  })
})
