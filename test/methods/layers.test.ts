import { describe, expect, it } from 'vitest'
import { angular } from '../../src/methods/angular.ts'
import { dropTail } from '../../src/methods/dropTail.ts'
import { llmDrop } from '../../src/methods/llmDrop.ts'
import { magnitude } from '../../src/methods/magnitude.ts'
import { randomRemoval } from '../../src/methods/randomRemoval.ts'
import { shortenedLlama } from '../../src/methods/shortenedLlama.ts'
import { shortGpt } from '../../src/methods/shortGpt.ts'
import { sleb } from '../../src/methods/sleb.ts'
import { id, layerBlocks, noRows, removedOf, take, toyModel, toyObjective, toySimilarities } from './toy.ts'

const layerOf = (block: string) => Number(block.split('.')[1])
/** Each removed block costs what the table says of its layer. */
const separable = (costs: readonly number[]) =>
  toyObjective((removed) => [...removed].reduce((sum, block) => sum + costs[layerOf(block)]!, 1))

describe('Shortened LLaMA', () => {
  const costs = [0, 1, 0, 1, 5, 3, 4, 2, 0, 0]

  it('removes the layers by their loss alone, never layers 0 to 3 and the last two', async () => {
    const steps = await take(shortenedLlama(toyModel(10), separable(costs), separable(costs)))
    expect(removedOf(steps)).toEqual([7, 5, 6, 4].map(layerBlocks))
    expect(steps.map(({ loss }) => loss)).toEqual([5, 11, 19, 29])
    expect(steps.map(({ score }) => score)).toEqual([5, 7, 9, 11])
    expect(steps[0]!.runnerUp).toEqual({ block: 'decoder.5.attention', others: ['decoder.5.mlp'], loss: 7 })
    expect(steps.at(-1)!.runnerUp).toBeUndefined()
  })

  it('removes any layer without the rule, the first of equals first', async () => {
    const steps = await take(shortenedLlama(toyModel(10), separable(costs), separable(costs), { plus: false }))
    expect(removedOf(steps).slice(0, 6)).toEqual([0, 2, 8, 9, 1, 3].map(layerBlocks))
    expect(steps).toHaveLength(10)
  })

  it('asks for each layer once', async () => {
    const pooled = separable(costs)
    await take(shortenedLlama(toyModel(10), separable(costs), pooled))
    expect(pooled.asked).toHaveLength(1)
    expect(pooled.asked[0]).toHaveLength(4)
  })

  it('sums absolute weights without biases', async () => {
    const weights = { '4.mlp': [-9, 9], '5.attention': [0.5, -0.5], '6.mlp': [-0.5] }
    const options = { criterion: 'magnitude', plus: true } as const
    const steps = await take(shortenedLlama(toyModel(10, weights), separable(costs), separable(costs), options))
    expect(removedOf(steps)).toEqual([6, 5, 7, 4].map(layerBlocks))
    expect(steps.map(({ score }) => score)).toEqual([1.5, 2, 2, 19])
  })
})

describe('SLEB', () => {
  it('removes the layer with the lowest loss given what is gone, never the first or last that is left', async () => {
    const objective = toyObjective((removed) => {
      const layers = [...new Set([...removed].map(layerOf))].sort()
      return { '2': 1, '1 2': 4, '2 3': 3, '0 2': 0, '2 4': 0 }[layers.join(' ')] ?? 5
    })
    const steps = await take(sleb(toyModel(5), objective))
    expect(removedOf(steps)).toEqual([2, 3, 1].map(layerBlocks))
    expect(steps.map(({ loss }) => loss)).toEqual([1, 3, 5])
    expect(steps[0]!.runnerUp).toEqual({ block: 'decoder.1.attention', others: ['decoder.1.mlp'], loss: 5 })
  })
})

describe('block influence', () => {
  const cosines = toySimilarities((first, last) =>
    first === last ? 0.5 + layerOf(first) / 10 + (first.endsWith('mlp') ? 0.05 : 0) : layerOf(first) / 10,
  )

  it('removes first what turns the stream least: layers for ShortGPT', async () => {
    const steps = await take(shortGpt(toyModel(4), separable([1, 1, 1, 1]), cosines, noRows))
    expect(removedOf(steps)).toEqual([3, 2, 1, 0].map(layerBlocks))
    expect(steps[0]!.score).toBeCloseTo(0.7, 12)
    expect(steps.map(({ loss }) => loss)).toEqual([3, 5, 7, 9])
  })

  it('puts attention and mlp into one list for LLM-Drop', async () => {
    const steps = await take(llmDrop(toyModel(2), separable([1, 1]), cosines, noRows))
    expect(removedOf(steps)).toEqual(['decoder.1.mlp', 'decoder.1.attention', 'decoder.0.mlp', 'decoder.0.attention'])
    const attention = await take(llmDrop(toyModel(2), separable([1, 1]), cosines, noRows, { kinds: ['attention'] }))
    expect(removedOf(attention)).toEqual(['decoder.1.attention', 'decoder.0.attention'])
  })
})

describe('contiguous layers', () => {
  const angles = toySimilarities((first, last, measure) => {
    expect(measure).toBe('lastAngle')
    const [from, to] = [layerOf(first), layerOf(last)]
    return to - from === 1 ? [0.3, 0.2, 0.1, 0.4][from]! : 1
  })

  it('removes the run that turns the last token least, as long as the budget needs, in one step', async () => {
    const isReached = (plan: { blocks: readonly string[] }) => plan.blocks.length >= 3
    const steps = await take(angular(toyModel(5), separable([1, 1, 1, 1, 1]), angles, noRows, { isReached }))
    expect(removedOf(steps)).toEqual([`${layerBlocks(2)} ${layerBlocks(3)}`])
    expect(steps[0]).toMatchObject({ score: 0.1, loss: 5 })
    expect(steps[0]!.runnerUp).toMatchObject({ block: 'decoder.1.attention', loss: 0.2 })
  })

  it('says when nothing reaches the budget', async () => {
    const never = angular(toyModel(3), separable([1, 1, 1]), angles, noRows, { isReached: () => false })
    await expect(take(never)).rejects.toThrow(/no run of its 3 layers in one stack reaches the budget/)
  })
})

describe('baselines', () => {
  const objective = separable([1, 1, 1, 1])

  it('drop the last layers, the deepest first', async () => {
    expect(removedOf(await take(dropTail(toyModel(4), objective), 2))).toEqual([3, 2].map(layerBlocks))
    expect(removedOf(await take(dropTail(toyModel(4), objective, { keep: new Set([id('decoder.3.mlp')]) })))).toEqual(
      [2, 1, 0].map(layerBlocks),
    )
  })

  it('drop the smallest weights, by mean or by sum', async () => {
    const model = toyModel(2, { '0.mlp': [0.5, 0.5, -0.5], '1.attention': [0.9] })
    expect(removedOf(await take(magnitude(model, objective), 2))).toEqual(['decoder.0.mlp', 'decoder.1.attention'])
    const bySum = await take(magnitude(model, objective, { reduction: 'sum' }), 2)
    expect(removedOf(bySum)).toEqual(['decoder.1.attention', 'decoder.0.attention'])
    expect(removedOf(await take(magnitude(model, objective, { unit: 'layer' })))).toEqual([0, 1].map(layerBlocks))
  })

  it('drop blocks or layers at random, the same for the same seed', async () => {
    const run = async (seed: number, unit: 'block' | 'layer') =>
      removedOf(await take(randomRemoval(toyModel(4), objective, { seed, unit })))
    expect(await run(1, 'block')).toEqual(await run(1, 'block'))
    expect(await run(1, 'block')).not.toEqual(await run(2, 'block'))
    expect(new Set(await run(3, 'block')).size).toBe(8)
    expect((await run(3, 'layer')).sort()).toEqual([0, 1, 2, 3].map(layerBlocks))
  })
})
