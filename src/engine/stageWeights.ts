import type { Stage } from '../graph/program.ts'
import type { Model } from '../model/model.ts'
import { blockSizes, stackSizes } from '../model/plan.ts'
import type { StackName, WeightTable } from '../types.ts'
import { rolesOf } from './memory.ts'
import type { Weights } from './weights.ts'

/** Begins to read the weights of a stage. */
export function prefetchStage(model: Model, weights: Weights, stage: Stage): void {
  const { block, weights: table, name } = stage
  const graph = stage.graph(block?.units ?? 0)
  if (graph === 'copy') return
  const sizes = block === undefined ? stackSizes(model, name.split('.')[0] as StackName) : blockSizes(model, block)
  weights.prefetch(table, rolesOf(graph), sizes)
}

/** Lets go of the weights of a stage, where they do not stay. */
export function leaveStage(weights: Weights, { weights: table, block }: Stage): Promise<void> {
  return weights.leave(table, rolesOfTable(table), block !== undefined)
}

/** Lets go of all weights outside the blocks, where they do not stay. */
export function leaveOuter({ outer }: Model, weights: Weights): Promise<void> {
  return weights.leave(outer, rolesOfTable(outer), false)
}

/** Fused roles one by one. */
function rolesOfTable(table: WeightTable): string[] {
  return Object.keys(table).flatMap((roles) => roles.split('|'))
}
