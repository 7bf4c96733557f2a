import { EngineError, PlanError } from '../errors.ts'
import type { Engine } from '../measures/measurement.ts'
import type { Model } from '../model/model.ts'
import { emptyPlan } from '../model/plan.ts'
import { Random } from '../tensor/random.ts'
import type { BlockId, PruningPlan, RowObjective, TokenRows } from '../types.ts'
import { projectOntoBudget } from './budgetProjection.ts'
import { type Granularity, type MaskUnit, maskedBlocks, maskUnits, planOfMask } from './maskUnits.ts'
import { defineMethod, type LoopOptions, type Steps } from './method.ts'
import { finite } from './removeInOrder.ts'
import { wandaScores } from './wandaScores.ts'

const granularitiesOf = ({ units }: { readonly units: string }) => units.split('+') as Granularity[]

export const method = defineMethod({
  name: 'policy-gradient',
  role: 'method',
  title: 'Policy gradient over masks',
  paper: 'arXiv:2406.10576',
  unit: 'channel, head group, block, layer',
  cost: 'samples x steps passes over batches',
  options: {
    units: {
      type: 'choice',
      choices: [
        'channels+heads',
        'channels',
        'heads',
        'blocks',
        'layers',
        'channels+heads+blocks',
        'channels+heads+layers',
      ],
      default: 'channels+heads',
      says: 'what masks keep or remove; heads are key/value groups with their query heads',
    },
    budgets: {
      type: 'choice',
      choices: ['separate', 'one'],
      default: 'separate',
      says: 'the same share of each kind of unit, or one budget of parameters over all',
    },
    init: {
      type: 'choice',
      choices: ['wanda', 'constant'],
      default: 'wanda',
      says: "probabilities at first: from Wanda-sp's metric, or all equal",
    },
    estimator: {
      type: 'choice',
      choices: ['released', 'plain'],
      default: 'released',
      says: 'score function divided by the deviation, as the released code does, or by the variance',
    },
    steps: { type: 'number', from: 1, to: 1e6, whole: true, default: 500, says: 'updates' },
    samples: { type: 'number', from: 2, to: 1000, whole: true, default: 2, says: 'masks an update' },
    'learning-rate': { type: 'number', from: 0, to: 10, default: 0.01, says: 'at the first update' },
    'batch-rows': { type: 'number', from: 1, to: 1e6, whole: true, default: 4, says: 'rows an update' },
    window: { type: 'number', from: 1, to: 1e6, default: 5, says: 'updates that the baseline looks back' },
    interval: {
      type: 'number',
      from: 1,
      to: 1e6,
      whole: true,
      default: 50,
      says: 'updates between two recorded steps',
    },
  },
  // masks differ everywhere: nothing is shared
  passes: ({ rows }, { steps, samples, 'batch-rows': batchRows }) =>
    (steps * samples * Math.min(rows, batchRows)) / rows,
  masks: granularitiesOf,
  removable: (scope, options) => maskedBlocks('policy-gradient', granularitiesOf(options), scope),
  endsItself: true,
  run: (
    { model, objective, engine, rows, ...context },
    { 'learning-rate': learningRate, 'batch-rows': batchRows, ...options },
  ) =>
    policyGradient(model, objective, engine, rows, {
      ...context,
      ...options,
      granularities: granularitiesOf(options),
      learningRate,
      batchRows,
    }),
})

/** `plain`: the score function itself; `released`: divided by the square root of the variance, as the released code does. */
export type Estimator = 'plain' | 'released'

export interface PolicyGradientOptions extends LoopOptions {
  /** What masks keep or remove; default channels and heads, as in the released code. */
  readonly granularities?: readonly Granularity[] | undefined
  /** Whether a plan removes enough: the budget of every mask. */
  readonly isReached: (plan: PruningPlan) => boolean
  /** One budget over all units, in parameters, or the same share of each granularity; default separate. */
  readonly budgets?: 'separate' | 'one' | undefined
  /** Probabilities at first: from Wanda-sp's metric, or all equal; blocks and layers always begin equal. Default wanda. */
  readonly init?: 'wanda' | 'constant' | undefined
  readonly estimator?: Estimator | undefined
  readonly steps?: number | undefined
  /** N_s, masks sampled a step; from 2. */
  readonly samples?: number | undefined
  /** η at the first step; falls to 0 along a cosine. */
  readonly learningRate?: number | undefined
  /** Rows a step, taken in turn. */
  readonly batchRows?: number | undefined
  /** 1/λ: steps over which the baseline δ looks back. */
  readonly window?: number | undefined
  /** Steps between two yields. */
  readonly interval?: number | undefined
  readonly seed: number
}

/**
 * Optimisation-based structural pruning without back-propagation (arXiv:2406.10576; code ethanygao/backprop-free_LLM_pruning).
 * Every unit has a probability s_i to stay; masks m ~ Bernoulli(s) are run forward only:
 *
 *     g_i  = 1/N_s Σ_j (L(m^j) - δ) (m_i^j - s_i) / (s_i (1 - s_i)),   δ ← (1 - λ) δ + λ mean_j L(m^j)
 *     s    ← Proj( s - η g )  onto  Σ c_i s_i ≤ K, 0 ≤ s ≤ 1
 *
 * and the units with the largest s are kept at the end, no sample. The released estimator divides by √(s(1-s)) instead, by
 * N_s - 1, and moves δ before it subtracts it; a preconditioned gradient that is slow near 0 and 1, and the default here as
 * there. Unlike the code: blocks and layers as in the paper, one budget in parameters as an option, Wanda-sp's metric from
 * the dense model in one pass, a learning rate for hundreds of steps instead of 15,000. Masks without a finite loss are skipped.
 *
 * Yields the thresholded mask every `interval` steps; `score` is the mean loss of the masks sampled since the last one.
 */
export async function* policyGradient(
  model: Model,
  objective: RowObjective,
  engine: Engine,
  rows: TokenRows,
  options: PolicyGradientOptions,
): Steps {
  const { start = emptyPlan, granularities = ['channels', 'heads'], budgets = 'separate', init = 'wanda' } = options
  const {
    estimator = 'released',
    steps = 500,
    samples = 2,
    learningRate = 0.01,
    batchRows = 4,
    window = 5,
    interval = 50,
  } = options
  const { isReached, seed, signal } = options
  const random = new Random(seed)
  const units = maskUnits(model, granularities, options)
  const groups = groupsOf(units, budgets)
  const metric = init === 'wanda' ? await wandaScores(model, units, engine, rows, signal) : undefined
  const kept = (s: ArrayLike<number>) => smallestCut(model, units, groups, s, { isReached, start })

  const limits = limitsOf(units, groups, kept(metric ?? new Float64Array(units.length)))
  const project = (z: Float64Array) => projectGroups(z, units, groups, limits)
  let s = project(startProbabilities(units, groups, limits, metric))
  let delta: number | undefined
  let sampled: number[] = []
  let plan: PruningPlan | undefined
  for (let step = 0; step < steps; step++) {
    const masks = Array.from({ length: samples }, () => s.map((share) => (random.uniform() < share ? 1 : 0)))
    const range = rowsOfStep(step, batchRows, objective.rows)
    const values = await objective.evaluateRows(
      masks.map((mask) => planOfMask(model, units, mask, start)),
      { range, signal },
    )
    const losses = values.map((ofRows) => objective.combine(ofRows, range[0]))
    const usable = [...losses.keys()].filter((j) => Number.isFinite(losses[j]))
    if (usable.length > 0) {
      const mean = usable.reduce((total, j) => total + losses[j]!, 0) / usable.length
      const moved = delta === undefined ? mean : delta + (mean - delta) / window
      const baseline = estimator === 'released' ? moved : (delta ?? mean)
      const gradient = scoreFunctionGradient(
        usable.map((j) => masks[j]!),
        usable.map((j) => losses[j]!),
        baseline,
        s,
        estimator,
      )
      const rate = (learningRate / 2) * (1 + Math.cos((Math.PI * step) / steps))
      s = project(s.map((share, i) => share - rate * gradient[i]!))
      delta = moved
      sampled.push(mean)
    }
    if ((step + 1) % interval !== 0 && step + 1 !== steps) continue
    if (sampled.length === 0) {
      throw new EngineError(
        `steps ${step + 2 - interval} to ${step + 1}: no mask has a finite loss; ask for a smaller budget`,
      )
    }
    const before = new Set(plan?.blocks)
    plan = planOfMask(model, units, kept(s), start)
    const [loss = Number.NaN] = await objective.evaluate([plan], signal)
    const restored = difference(before, new Set(plan.blocks))
    yield {
      plan,
      removed: difference(new Set(plan.blocks), before),
      ...(restored.length > 0 && { restored }),
      loss: finite(loss, plan.blocks),
      score: sampled.reduce((total, value) => total + value, 0) / sampled.length,
    }
    sampled = []
  }
}

/** The gradient of the expected loss over s from sampled masks and their losses. */
export function scoreFunctionGradient(
  masks: readonly ArrayLike<number>[],
  losses: readonly number[],
  baseline: number,
  s: Float64Array,
  estimator: Estimator,
): Float64Array {
  const by = estimator === 'released' ? Math.max(1, masks.length - 1) : masks.length
  const tiny = 1e-7
  return s.map((share, i) => {
    const variance = estimator === 'released' ? Math.sqrt((share + tiny) * (1 - share + tiny)) : share * (1 - share)
    // a unit that is certain is never sampled the other way: no mask says anything of it
    if (variance === 0) return 0
    return masks.reduce((sum, mask, j) => sum + ((losses[j]! - baseline) * (mask[i]! - share)) / variance, 0) / by
  })
}

/** Indices of the units that share a budget. */
function groupsOf(units: readonly MaskUnit[], budgets: 'separate' | 'one'): number[][] {
  const all = [...units.keys()]
  if (budgets === 'one') return [all]
  const granularities = [...new Set(units.map(({ granularity }) => granularity))]
  return granularities.map((name) => all.filter((i) => units[i]!.granularity === name))
}

/**
 * The mask that removes as few units as reach the budget, those with the smallest s first, every group by the same share. Throws
 * `PlanError` when no mask that leaves anything reaches it.
 */
function smallestCut(
  model: Model,
  units: readonly MaskUnit[],
  groups: readonly (readonly number[])[],
  s: ArrayLike<number>,
  { isReached, start }: { readonly isReached: (plan: PruningPlan) => boolean; readonly start: PruningPlan },
): Uint8Array {
  const order = groups
    .flatMap((group) =>
      group.toSorted((a, b) => s[a]! - s[b]! || a - b).map((i, rank) => ({ i, share: (rank + 0.5) / group.length })),
    )
    .sort((a, b) => a.share - b.share)
  const maskWithout = (count: number) => {
    const mask = new Uint8Array(units.length).fill(1)
    for (const { i } of order.slice(0, count)) mask[i] = 0
    return mask
  }
  let [low, high] = [0, units.length]
  while (high - low > 1) {
    const middle = (low + high) >> 1
    if (isReached(planOfMask(model, units, maskWithout(middle), start))) high = middle
    else low = middle
  }
  if (high === units.length) {
    throw new PlanError(
      `${model.id}: no mask of its ${units.length} units that leaves any of them reaches the budget; ` +
        'ask for less, and for a share of the parameters rather than a number of blocks where units are smaller',
    )
  }
  return maskWithout(high)
}

/** K of each group: the cost of what `mask` keeps. */
function limitsOf(units: readonly MaskUnit[], groups: readonly (readonly number[])[], mask: Uint8Array): number[] {
  return groups.map((group) =>
    costOf(
      units,
      group.filter((i) => mask[i] === 1),
    ),
  )
}

function projectGroups(
  z: Float64Array,
  units: readonly MaskUnit[],
  groups: readonly (readonly number[])[],
  limits: readonly number[],
): Float64Array {
  const s = new Float64Array(z.length)
  for (const [g, group] of groups.entries()) {
    const costs = group.map((i) => units[i]!.cost)
    const projected = projectOntoBudget(
      group.map((i) => z[i]!),
      costs,
      limits[g]!,
    )
    for (const [at, i] of group.entries()) s[i] = projected[at]!
  }
  return s
}

/**
 * s = sigmoid((metric - mean) / std) shifted to the share that its group keeps ("sigmap" of the released code), each granularity by
 * itself; that share where there is no metric.
 */
function startProbabilities(
  units: readonly MaskUnit[],
  groups: readonly (readonly number[])[],
  limits: readonly number[],
  metric: Float64Array | undefined,
): Float64Array {
  const s = new Float64Array(units.length)
  for (const [g, group] of groups.entries()) {
    const keep = limits[g]! / costOf(units, group)
    for (const granularity of new Set(group.map((i) => units[i]!.granularity))) {
      const own = group.filter((i) => units[i]!.granularity === granularity)
      const values = own.map((i) => metric?.[i] ?? Number.NaN)
      const mean = average(values)
      const deviation = Math.sqrt(average(values.map((value) => (value - mean) ** 2)))
      const isEqual = !(deviation > 0)
      const shares = values.map((value) => (isEqual ? 0 : 1 / (1 + Math.exp((mean - value) / deviation))))
      const shift = keep - average(shares)
      for (const [at, i] of own.entries()) s[i] = Math.min(1, Math.max(0, shares[at]! + shift))
    }
  }
  return s
}

function costOf(units: readonly MaskUnit[], indices: readonly number[]): number {
  return indices.reduce((total, i) => total + units[i]!.cost, 0)
}

const average = (values: readonly number[]) => values.reduce((total, value) => total + value, 0) / values.length

/** The rows of a step, in turn; the last batch of a round may be smaller. */
function rowsOfStep(step: number, batchRows: number, rows: number): [number, number] {
  const start = (step % Math.ceil(rows / batchRows)) * batchRows
  return [start, Math.min(start + batchRows, rows)]
}

function difference(a: ReadonlySet<BlockId>, b: ReadonlySet<BlockId>): BlockId[] {
  return [...a].filter((id) => !b.has(id))
}
