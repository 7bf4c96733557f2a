import { describe, expect, it } from 'vitest'
import { EngineError, PlanError } from '../../src/errors.ts'
import type { ChannelStatistics } from '../../src/measures/channelStatistics.ts'
import { projectOntoBudget } from '../../src/methods/budgetProjection.ts'
import { type PolicyGradientOptions, policyGradient, scoreFunctionGradient } from '../../src/methods/policyGradient.ts'
import type { Model } from '../../src/model/model.ts'
import { Random } from '../../src/tensor/random.ts'
import type { PruningPlan, PruningStep } from '../../src/types.ts'
import { noRows, take, toyEngine, toyModel, toyRows } from './toy.ts'

const sum = (values: ArrayLike<number>) => Array.from(values).reduce((total, value) => total + value, 0)

describe('the projection onto a budget', () => {
  it('keeps what fits as it is, clipped to 0..1', () => {
    expect([...projectOntoBudget([-0.5, 0.25, 2], [1, 1, 1], 2)]).toEqual([0, 0.25, 1])
  })

  it('spends exactly the budget otherwise, and is the nearest point that does', () => {
    const random = new Random(1)
    for (let trial = 0; trial < 50; trial++) {
      const z = Array.from({ length: 12 }, () => 3 * random.uniform() - 1)
      const costs = Array.from({ length: 12 }, () => (trial % 2 === 0 ? 1 : 1 + 1e5 * random.uniform()))
      const full = z.reduce((total, value, i) => total + Math.min(1, Math.max(0, value)) * costs[i]!, 0)
      const budget = full * (0.1 + 0.8 * random.uniform())
      const s = projectOntoBudget(z, costs, budget)
      expect(Math.abs(sum(s.map((share, i) => share * costs[i]!)) / budget - 1)).toBeLessThan(1e-9)
      expect(s.every((share) => share >= 0 && share <= 1)).toBe(true)
      // no exchange of budget between two units brings it nearer to z
      const distance = (p: ArrayLike<number>) => sum(z.map((value, i) => (value - p[i]!) ** 2))
      for (let i = 0; i < 12; i++) {
        const moved = Float64Array.from(s)
        const j = (i + 1 + random.below(11)) % 12
        const step = 1e-4 * costs[j]!
        moved[i]! += step / costs[i]!
        moved[j]! -= step / costs[j]!
        if (moved[i]! > 1 || moved[j]! < 0) continue
        expect(distance(moved)).toBeGreaterThan(distance(s) - 1e-9)
      }
    }
  })

  it('sums to the budget within 1e-6', () => {
    expect(Math.abs(sum(projectOntoBudget([0.9, 0.8, 0.1, 0.7], [1, 1, 1, 1], 2)) - 2)).toBeLessThan(1e-6)
  })
})

describe('the score function', () => {
  // L = Σ c_i (1 - m_i): the gradient of its expectation is -c_i
  const c = [0.5, -1, 2, 0.1, 1]
  const s = Float64Array.of(0.5, 0.2, 0.9, 0.7, 0.4)
  const samples = 3

  it.each(['plain', 'released'] as const)('of the %s estimator has the expectation of the algebra', (estimator) => {
    const random = new Random(11)
    const trials = 20_000
    const [total, squares] = [new Float64Array(5), new Float64Array(5)]
    for (let trial = 0; trial < trials; trial++) {
      const masks = Array.from({ length: samples }, () => s.map((share) => (random.uniform() < share ? 1 : 0)))
      const losses = masks.map((mask) => sum(c.map((cost, i) => cost * (1 - mask[i]!))))
      for (const [i, g] of scoreFunctionGradient(masks, losses, 0.7, s, estimator).entries()) {
        total[i]! += g
        squares[i]! += g * g
      }
    }
    for (const [i, cost] of c.entries()) {
      const mean = total[i]! / trials
      const error = Math.sqrt((squares[i]! / trials - mean * mean) / trials)
      // the released code divides a sum over N_s masks by N_s - 1
      const factor = estimator === 'plain' ? 1 : (Math.sqrt(s[i]! * (1 - s[i]!)) * samples) / (samples - 1)
      expect(Math.abs(mean + cost * factor)).toBeLessThan(3 * error)
      expect(error).toBeLessThan(0.1)
    }
  })

  it('says nothing of a unit that is certain', () => {
    const gradient = scoreFunctionGradient([[1, 0]], [3], 1, Float64Array.of(1, 0), 'plain')
    expect([...gradient]).toEqual([0, 0])
  })
})

/** Eight blocks; each has a price, and two pairs must not go together. */
const price = [5, 1, 2, 1, 3, 1.5, 4, 2.2]
const toy = toyModel(4)
const names = toy.blocks.map(({ id }) => id)
const model = { ...toy, blocks: toy.blocks.map((block) => ({ ...block, parameters: 100, units: 1 })) }
function lossOf({ blocks }: PruningPlan): number {
  const gone = names.map((id) => blocks.includes(id))
  const pair = (a: number, b: number) => (gone[a] && gone[b] ? 4 : 0)
  return price.reduce((total, cost, i) => total + (gone[i] ? cost : 0), 0) + pair(1, 3) + pair(1, 5)
}
const objective = toyRows(4, (plan, row) => lossOf(plan) + row / 1000)

/** The best of all plans with four blocks removed. */
function optimum(): string[] {
  let best = { loss: Number.POSITIVE_INFINITY, blocks: [] as string[] }
  for (let bits = 0; bits < 256; bits++) {
    const blocks = names.filter((_, i) => (bits >> i) & 1)
    const loss = lossOf({ blocks, units: {} })
    if (blocks.length === 4 && loss < best.loss) best = { loss, blocks }
  }
  return best.blocks
}

const noEngine = toyEngine('channelStatistics', () => {
  throw new Error('blocks have no channels to ask for')
})
const search = (more: Partial<PolicyGradientOptions> = {}): AsyncGenerator<PruningStep, void> =>
  policyGradient(model, objective, noEngine, noRows, {
    granularities: ['blocks'],
    isReached: ({ blocks }) => blocks.length >= 4,
    init: 'constant',
    steps: 3000,
    samples: 4,
    learningRate: 0.01,
    batchRows: 2,
    interval: 500,
    seed: 3,
    ...more,
  })

describe('policy gradient', () => {
  it.each(['released', 'plain'] as const)(
    'finds the optimum of eight units, known by enumeration (%s)',
    async (estimator) => {
      // the plain estimator has the larger variance: it wants more masks and smaller steps
      const steps = await take(
        search({ estimator, ...(estimator === 'plain' && { samples: 16, learningRate: 0.003 }) }),
      )
      expect(steps).toHaveLength(6)
      expect(optimum()).toHaveLength(4)
      expect(steps.at(-1)!.plan.blocks).toEqual(optimum())
      expect(steps.at(-1)!.loss).toBeCloseTo(lossOf(steps.at(-1)!.plan) + 0.0015, 9)
    },
  )

  it('yields masks that keep to the budget, and says what came and went', async () => {
    let gone = new Set<string>()
    for (const { plan, removed, restored = [] } of await take(search({ steps: 60, interval: 7 }))) {
      expect(plan.blocks).toHaveLength(4)
      gone = new Set([...gone, ...removed].filter((id) => !restored.includes(id as never)))
      expect(gone).toEqual(new Set(plan.blocks))
    }
  })

  it('is the same for the same seed, and another for another', async () => {
    const scores = async (seed: number) =>
      (await take(search({ steps: 20, interval: 5, seed }))).map(({ score }) => score)
    expect(await scores(1)).toEqual(await scores(1))
    expect(await scores(1)).not.toEqual(await scores(2))
  })

  it('skips masks without a finite loss and says when there are no others', async () => {
    const broken = toyRows(4, (plan) => (plan.blocks.length % 2 === 1 ? Number.NaN : lossOf(plan)))
    const options = {
      granularities: ['blocks'] as const,
      isReached: ({ blocks }: PruningPlan) => blocks.length >= 4,
      seed: 3,
    }
    const steps = await take(policyGradient(model, broken, noEngine, noRows, { ...options, steps: 40, interval: 40 }))
    expect(Number.isFinite(steps[0]!.score)).toBe(true)
    const never = toyRows(4, () => Number.NaN)
    await expect(take(policyGradient(model, never, noEngine, noRows, { ...options, steps: 5 }))).rejects.toThrow(
      EngineError,
    )
  })

  it('says when no mask reaches the budget', async () => {
    await expect(take(search({ isReached: () => false }))).rejects.toThrow(PlanError)
  })

  it('shares one budget by parameters, or asks the same share of each kind of unit', async () => {
    const share = ({ blocks }: PruningPlan) => blocks.length / 8
    const options = {
      granularities: ['blocks', 'layers'] as const,
      isReached: (plan: PruningPlan) => share(plan) >= 0.5,
    }
    for (const budgets of ['one', 'separate'] as const) {
      const steps = await take(search({ ...options, budgets, steps: 10, interval: 10 }))
      expect(share(steps[0]!.plan)).toBeGreaterThanOrEqual(0.5)
    }
  })
})

describe('channels and head groups', () => {
  /** Two layers of two head groups of two channels, and four channels. */
  const wide = { ...toyModel(2), sizes: { D: 1, K: 2, F: 4 }, architecture: { stacks: {} } }
  const blocks = wide.blocks.map((block) => ({
    ...block,
    table: { unit: block.kind === 'mlp' ? 'F' : 'K' },
    units: block.kind === 'mlp' ? 4 : 2,
    parameters: block.kind === 'mlp' ? 40 : 20,
    weights: { proj: [block.id, block.kind === 'mlp' ? 'D F' : 'D K'] as const },
  }))
  const widths = { ...wide, blocks } as unknown as Model
  const flat = Float64Array.of(1, 1, 1, 1)
  const statistics = (square: number[]): ChannelStatistics => ({
    mean: flat,
    meanSquare: Float64Array.from(square),
    absoluteWeight: flat,
    squaredWeight: flat,
  })
  const engine = toyEngine('channelStatistics', ({ blocks }) =>
    blocks.map((id) => statistics(id.endsWith('mlp') ? [9, 1, 16, 4] : [1, 1, 25, 25])),
  )
  const removedUnits = ({ blocks: gone, units }: PruningPlan) =>
    gone.length * 4 + Object.values(units).reduce((total, indices) => total + (indices?.length ?? 0), 0)

  it('begin from what Wanda-sp says: the smallest norms are the least likely to stay', async () => {
    const calm = toyRows(1, () => 1)
    const steps = await take(
      policyGradient(widths, calm, engine, noRows, { isReached: (plan) => removedUnits(plan) >= 6, steps: 1, seed: 1 }),
    )
    expect(steps[0]!.plan.units).toEqual({
      'decoder.0.attention': [0],
      'decoder.1.attention': [0],
      'decoder.0.mlp': [1, 3],
      'decoder.1.mlp': [1, 3],
    })
  })
})
