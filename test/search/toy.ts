import type { Model } from '../../src/model/model.ts'
import { planKey } from '../../src/model/plan.ts'
import type { Block, BlockId, PruningPlan, PruningStep, RowObjective } from '../../src/types.ts'

/** A toy decoder of `layers` layers whose attention has 1 and whose mlp has `mlpParameters` parameters. */
export function toyModel(layers: number, mlpParameters = 3): Model {
  const sizes = { D: 1, K: 1, F: mlpParameters }
  const kinds = [
    { kind: 'attention', unit: 'K', form: () => ({}) },
    { kind: 'mlp', unit: 'F', form: () => ({}) },
  ] as const
  const blocks = Array.from({ length: layers }, (_, layer) =>
    kinds.map(
      (table) =>
        ({
          id: `decoder.${layer}.${table.kind}`,
          kind: table.kind,
          table,
          stack: 'decoder',
          layer,
          units: table.kind === 'mlp' ? mlpParameters : 1,
          parameters: table.kind === 'mlp' ? mlpParameters : 1,
          weights: { oProj: [`${layer}.${table.kind}`, table.kind === 'mlp' ? 'D F' : 'D K'] },
        }) as unknown as Block,
    ),
  ).flat()
  const parameters = blocks.reduce((total, block) => total + block.parameters, 0)
  return {
    id: 'toy',
    config: {},
    sizes,
    outer: {},
    blocks,
    parameters,
    architecture: { family: 'decoder', stacks: { decoder: { layers: () => layers, blocks: kinds } } },
  } as unknown as Model
}

export interface ToyObjective extends RowObjective {
  /** Plans × rows evaluated so far. */
  work: number
}

/** A loss by formula, its mean over rows; counts plans × rows. */
export function toyObjective(rows: number, value: (removed: readonly BlockId[], row: number) => number): ToyObjective {
  return {
    measure: 'toy',
    unit: 'nats per token',
    rows,
    work: 0,
    combine: (values) => values.reduce((total, x) => total + x, 0) / values.length,
    async evaluate(plans, signal) {
      return (await this.evaluateRows(plans, { signal })).map((values) => this.combine(values))
    },
    async evaluateRows(plans, { range = [0, rows] as const, onRows } = {}) {
      this.work += plans.length * (range[1] - range[0])
      return plans.map((plan, i) => {
        const values = Float64Array.from({ length: range[1] - range[0] }, (_, r) => value(plan.blocks, range[0] + r))
        onRows?.(i, values)
        return values
      })
    },
  }
}

/** Weights of blocks and of pairs of blocks, drawn from `seed`: a loss that greedy does not solve. */
export function toyLoss(model: Model, seed: number): (removed: readonly BlockId[]) => number {
  const number = (text: string) => {
    let hash = 2166136261 ^ seed
    for (const letter of text) hash = Math.imul(hash ^ letter.charCodeAt(0), 16777619)
    hash = Math.imul(hash ^ (hash >>> 15), 0x85ebca6b)
    return ((hash ^ (hash >>> 13)) >>> 0) / 2 ** 32
  }
  const own = new Map(model.blocks.map(({ id, parameters }) => [id, parameters * (0.2 + number(id))]))
  return (removed) => {
    const ids = [...removed].sort()
    let loss = 2
    for (const [i, a] of ids.entries()) {
      loss += own.get(a)!
      for (const b of ids.slice(i + 1)) loss += 1.5 * number(`${a} ${b}`) - 0.3
    }
    return loss
  }
}

export async function collect(steps: AsyncIterable<PruningStep>, isDone: (plan: PruningPlan) => boolean = () => false) {
  const found: PruningStep[] = []
  for await (const step of steps) {
    found.push(step)
    if (isDone(step.plan)) break
  }
  return found
}

export const keyOf = (plan: PruningPlan) => planKey(plan)
