import type { Engine } from '../../src/measures/measurement.ts'
import type { MeasureName, Measures } from '../../src/measures/registry.ts'
import type { Model } from '../../src/model/model.ts'
import { planKey } from '../../src/model/plan.ts'
import type { Block, BlockId, Objective, PruningPlan, PruningStep, RowObjective } from '../../src/types.ts'

/** A decoder of `layers` layers whose blocks have one weight matrix each, of the numbers in `weights`; default 1. */
export function toyModel(layers: number, weights: Readonly<Record<string, readonly number[]>> = {}): Model {
  const blocks = Array.from({ length: layers }, (_, layer) =>
    (['attention', 'mlp'] as const).map(
      (kind) =>
        ({
          id: `decoder.${layer}.${kind}`,
          kind,
          stack: 'decoder',
          layer,
          weights: { proj: [`${layer}.${kind}`, 'D'], projBias: [`${layer}.${kind}.bias`, 'D'] },
        }) as unknown as Block,
    ),
  ).flat()
  const read = async (name: string) => Float32Array.from(name.endsWith('.bias') ? [1e6] : (weights[name] ?? [1]))
  return { id: 'toy', blocks, weights: { read } } as unknown as Model
}

/** Loss of a plan by a function of the removed blocks; `asked` lists what was evaluated, call by call. */
export function toyObjective(lossOf: (removed: ReadonlySet<string>, plan: PruningPlan) => number) {
  const asked: string[][] = []
  const objective: Objective & { readonly asked: string[][] } = {
    unit: 'nats per token',
    asked,
    async evaluate(plans) {
      asked.push(plans.map((plan) => planKey(plan).split('|')[0]!))
      return plans.map((plan) => lossOf(new Set(plan.blocks), plan))
    },
  }
  return objective
}

/** The same for rows: row r has the loss plus r/1000, so that ranges of rows can be told apart. */
export function toyRows(rows: number, lossOf: (plan: PruningPlan, row: number) => number): RowObjective {
  const combine = (values: Float64Array) => values.reduce((total, value) => total + value, 0) / values.length
  return {
    measure: 'toy',
    unit: 'nats per token',
    rows,
    combine,
    evaluate: async (plans) =>
      plans.map((plan) => combine(Float64Array.from({ length: rows }, (_, row) => lossOf(plan, row)))),
    evaluateRows: async (plans, { range: [start, end] = [0, rows] } = {}) =>
      plans.map((plan) => Float64Array.from({ length: end - start }, (_, i) => lossOf(plan, start + i))),
  }
}

/** An engine that answers one measure, the same for every plan. */
export function toyEngine<Name extends MeasureName>(
  answers: Name,
  answer: (options: Measures[Name]['options']) => Measures[Name]['result'],
): Engine {
  return {
    put: async () => 'toy',
    async measure({ plans, measure: { name, ...options } }) {
      if ((name as string) !== answers) throw new Error(`a toy engine for ${answers} was asked for ${name}`)
      return plans.map(() => answer(options as never)) as never
    },
    close: async () => {},
  }
}

/** An engine whose similarities are a function of the span. */
export function toySimilarities(of: (first: string, last: string, measure: string) => number) {
  return toyEngine('similarity', ({ spans, by }) =>
    spans.map(([first, last]) => Float64Array.of(of(first, last, by), of(first, last, by))),
  )
}

/** The first `steps` steps, or all. */
export async function take(method: AsyncGenerator<PruningStep, void>, steps = 99): Promise<PruningStep[]> {
  const found: PruningStep[] = []
  for await (const step of method) {
    found.push(step)
    if (found.length === steps) break
  }
  return found
}

export const removedOf = (steps: readonly PruningStep[]) => steps.map(({ removed }) => removed.join(' '))
export const layerBlocks = (layer: number) => `decoder.${layer}.attention decoder.${layer}.mlp`
export const id = (name: string) => name as BlockId
export const noRows = { ids: new Int32Array(0), rows: 0, rowLength: 0 }
