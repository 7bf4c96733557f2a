import { describe, expect, it } from 'vitest'
import { EngineError } from '../../src/errors.ts'
import { finerCut } from '../../src/methods/finerCut.ts'
import { id, removedOf, take, toyModel, toyObjective } from './toy.ts'

const model = toyModel(12)
const flat = toyObjective(() => 3)

describe('FinerCut', () => {
  it('removes what moves the output least, given what is gone, and records loss and distance', async () => {
    const distance = toyObjective((removed) => {
      if (removed.size === 1) return removed.has('decoder.4.mlp') ? 0.1 : 0.5
      return removed.has('decoder.2.attention') ? 0.2 : 0.6
    })
    const steps = await take(finerCut(model, flat, distance), 2)
    expect(removedOf(steps)).toEqual(['decoder.4.mlp', 'decoder.2.attention'])
    expect(steps.map(({ loss, score }) => [loss, score])).toEqual([
      [3, 0.1],
      [3, 0.2],
    ])
    expect(steps[0]!.runnerUp).toEqual({ block: 'decoder.0.attention', loss: 0.5 })
    expect(steps[1]!.plan.blocks).toEqual(['decoder.4.mlp', 'decoder.2.attention'])
  })

  it('ranks every block', async () => {
    expect(new Set(removedOf(await take(finerCut(model, flat, flat))))).toEqual(new Set(model.blocks.map((b) => b.id)))
    expect(await take(finerCut(model, flat, flat, { kinds: ['mlp'] }))).toHaveLength(12)
  })

  it('breaks ties in forward order, or by the names as text: mlp before attention, layer 10 before layer 2', async () => {
    expect(removedOf(await take(finerCut(model, flat, flat), 2))).toEqual([
      'decoder.0.attention',
      'decoder.1.attention',
    ])
    const named = removedOf(await take(finerCut(model, flat, flat, { order: 'names' }), 7))
    expect(named).toEqual(
      ['0.mlp', '0.attention', '1.mlp', '1.attention', '10.mlp', '10.attention', '11.mlp'].map((b) => `decoder.${b}`),
    )
  })

  it('keeps the first ⌊n·x/2⌋+1 layers until ⌊n·x⌋+1 blocks are gone, then lets them go', async () => {
    const early = toyObjective((removed) => [...removed].reduce((sum, block) => sum + Number(block.split('.')[1]), 0))
    const steps = await take(finerCut(model, flat, early, { freeze: 0.25 }))
    const layers = steps.map(({ removed }) => Number(removed[0]!.split('.')[1]))
    expect(Math.min(...layers.slice(0, 7))).toBe(4)
    expect(layers[7]).toBe(0)
    expect(steps).toHaveLength(24)
    const zero = await take(finerCut(model, flat, early, { freeze: 0 }), 2)
    expect(zero.map(({ removed }) => removed[0])).toEqual([id('decoder.1.attention'), id('decoder.0.attention')])
  })

  it('never removes by a distance that is no number, and says so when there is no other', async () => {
    const odd = toyObjective((removed) => (removed.has('decoder.3.mlp') ? 9 : Number.NaN))
    expect(removedOf(await take(finerCut(model, flat, odd), 1))).toEqual(['decoder.3.mlp'])
    await expect(
      take(
        finerCut(
          model,
          flat,
          toyObjective(() => Number.NaN),
        ),
      ),
    ).rejects.toThrow(EngineError)
    await expect(
      take(
        finerCut(
          model,
          toyObjective(() => Number.NaN),
          flat,
        ),
      ),
    ).rejects.toThrow(/the loss is NaN/)
  })
})
