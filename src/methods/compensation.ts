import { findRole } from '../model/axes.ts'
import type { Model } from '../model/model.ts'
import { encodeBias, outputRoles } from '../model/outputBias.ts'
import { removedUnits } from '../model/plan.ts'
import type { BlockId, PruningPlan } from '../types.ts'
import type { BlockStatistics } from './wandaScores.ts'

/**
 * `plan` with what its removed channels gave on average: for each block that lost some, of output matrix W and mean inputs x̄,
 *
 *     bias_d = Σ over removed channels c of W_dc · x̄_c                                        in float64, rounded to float32
 */
export async function compensated(
  model: Model,
  plan: PruningPlan,
  statistics: ReadonlyMap<BlockId, BlockStatistics>,
): Promise<PruningPlan> {
  const outputBiases: Partial<Record<BlockId, string>> = {}
  const outputs = model.sizes['D']!
  for (const [id, removed] of removedUnits(plan)) {
    const { block, statistics: own, channelsPerUnit } = statistics.get(id)!
    const { name, axes } = findRole(block.weights, outputRoles[block.kind].matrix)!
    const matrix = await model.weights.read(name)
    const channels = own.mean.length
    const inputFirst = !axes.startsWith('D')
    const bias = new Float64Array(outputs)
    for (const unit of removed) {
      for (let c = unit * channelsPerUnit; c < (unit + 1) * channelsPerUnit; c++) {
        for (let d = 0; d < outputs; d++) {
          bias[d]! += matrix[inputFirst ? c * outputs + d : d * channels + c]! * own.mean[c]!
        }
      }
    }
    outputBiases[id] = encodeBias(bias)
  }
  return { ...plan, outputBiases }
}

/** `plan` with biases of 0 where `compensated` puts others: as large, for a budget. */
export function withEmptyBiases(model: Model, plan: PruningPlan): PruningPlan {
  const zero = encodeBias(new Float32Array(model.sizes['D']!))
  return { ...plan, outputBiases: Object.fromEntries(removedUnits(plan).map(([id]) => [id, zero])) }
}
