import { bytesPerElement, isSafetensorsType } from '../format/safetensors/dtypes.ts'
import { applyPlan } from '../model/applyPlan.ts'
import type { Model } from '../model/model.ts'
import { blockSizes } from '../model/plan.ts'
import type { PruningPlan } from '../types.ts'

/**
 * Bytes of the tensors that `model` without what `plan` removes is exported with: stored types as they are, GGUF's quantised types
 * as float32. The header of model.safetensors, some kilobytes, is not counted.
 */
export function exportedBytes(model: Model, plan: PruningPlan): number {
  const { blocks, bareNorms, outer, weights } = applyPlan(model, plan)
  const tables = [outer, ...blocks.map((block) => block.weights), ...bareNorms.map((norm) => norm.weights)]
  const names = new Set(tables.flatMap((table) => Object.values(table).map(([name]) => name)))
  return [...names].reduce((total, name) => {
    const tensor = weights.tensors.get(name)
    if (tensor === undefined) return total
    const bytes = isSafetensorsType(tensor.type) ? bytesPerElement[tensor.type] : bytesPerElement.F32
    return total + tensor.shape.reduce((product, size) => product * size, bytes)
  }, 0)
}

/** Bytes of the key/value cache for one token of context, keys and values of every attention left, two bytes an element. */
export function cacheBytesPerToken(model: Model, plan: PruningPlan): number {
  const attentions = applyPlan(model, plan).blocks.filter(({ kind }) => kind !== 'mlp')
  return attentions.reduce((total, block) => total + 2 * 2 * block.units * blockSizes(model, block)['E']!, 0)
}
