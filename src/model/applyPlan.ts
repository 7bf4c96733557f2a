import type { PruningPlan, TensorInfo, WeightStore } from '../types.ts'
import { elementCount, keptRuns, keptUnits, lengthOf, sliceTensor } from './axes.ts'
import type { DescribedBlock, Model } from './model.ts'
import { decodeBias, outputRoles, withOutputBias } from './outputBias.ts'
import { blockSizes, checkPlan, leftOfRemoved, parametersWithUnits, removedParameters, stackSizes } from './plan.ts'

/**
 * The model that is left: `plan`'s blocks are gone, and the weights of the others are cut to the units that stay. Nothing is copied
 * until it is read; the store is shared with `model`. Throws `PlanError` when the plan does not fit.
 */
export function applyPlan(model: Model, plan: PruningPlan): Model {
  checkPlan(model, plan)
  const gone = new Set(plan.blocks)
  const kept = model.blocks.filter(({ id, units }) => !gone.has(id) && plan.units[id]?.length !== units)
  const blocks = kept.map((block) => narrowed(model, block, plan))
  const bareNorms = model.blocks
    .filter((block) => !kept.includes(block))
    .flatMap((block) => bareNormOf(model, block, plan))
  return {
    ...model,
    blocks,
    bareNorms: [...model.bareNorms, ...bareNorms],
    weights: biasedStore(model, plan, narrowedStore(model, kept, plan)),
    parameters: model.parameters - removedParameters(model, plan),
    applied: [...model.applied, plan],
  }
}

/**
 * Which units of the dense model the units of `block` are, after all plans applied since: numbers fixed by the family for
 * each head, such as ALiBi's slopes, follow them.
 */
export function originalUnits(model: Model, block: DescribedBlock): number[] {
  const all = Array.from({ length: stackSizes(model, block.stack)[block.table.unit] ?? 0 }, (_, unit) => unit)
  let units = [...(model.heads[block.id] ?? all)]
  for (const plan of model.applied) {
    const removed = new Set(plan.units[block.id])
    units = units.filter((_, position) => !removed.has(position))
  }
  return units
}

/** The norm that a removed block leaves in the stream, as a block of that norm alone; none where nothing is left. */
function bareNormOf(model: Model, block: DescribedBlock, plan: PruningPlan): DescribedBlock[] {
  const weights = leftOfRemoved(block, plan)
  if (Object.keys(weights).length === 0) return []
  const parameters = Object.values(weights).reduce((total, [, axes]) => total + elementCount(axes, model.sizes), 0)
  return [{ ...block, units: 0, parameters, weights }]
}

function narrowed(model: Model, block: DescribedBlock, plan: PruningPlan): DescribedBlock {
  const removed = plan.units[block.id]?.length ?? 0
  const units = block.units - removed
  const cut = removed === 0 ? block : { ...block, units, parameters: parametersWithUnits(model, block, units) }
  if (plan.outputBiases?.[block.id] === undefined) return cut
  const weights = withOutputBias(block.kind, block.weights)
  return { ...cut, weights, parameters: cut.parameters + (weights === block.weights ? 0 : model.sizes['D']!) }
}

/** `store` with the output biases of `plan`, added to those that it has. Kept as float32: they are sums. */
function biasedStore(model: Model, plan: PruningPlan, store: WeightStore): WeightStore {
  const added = new Map<string, string>()
  for (const block of model.blocks) {
    const bias = plan.outputBiases?.[block.id]
    if (bias !== undefined) added.set(withOutputBias(block.kind, block.weights)[outputRoles[block.kind].bias]![0], bias)
  }
  if (added.size === 0) return store
  const tensors = new Map(store.tensors)
  for (const name of added.keys()) tensors.set(name, { name, type: 'F32', shape: [model.sizes['D']!] })
  const read = async (name: string, into?: Float32Array<ArrayBuffer>) => {
    const bias = added.get(name)
    if (bias === undefined) return store.read(name, into)
    const values = decodeBias(bias)
    const own = store.tensors.has(name) ? await store.read(name) : undefined
    return own === undefined ? values : values.map((value, i) => value + own[i]!)
  }
  return {
    ...store,
    tensors,
    read,
    readBytes: async (name) => (added.has(name) ? new Uint8Array((await read(name)).buffer) : store.readBytes(name)),
  }
}

function narrowedStore(model: Model, blocks: readonly DescribedBlock[], plan: PruningPlan): WeightStore {
  const cuts = new Map<string, { shape: readonly number[]; runs: ReturnType<typeof keptRuns> }>()
  for (const block of blocks) {
    const removed = plan.units[block.id] ?? []
    const unit = block.table.unit
    if (removed.length === 0) continue
    for (const [name, axes] of Object.values(block.weights)) {
      const shape = model.weights.tensors.get(name)?.shape
      if (shape === undefined || !axes.includes(unit)) continue
      const runs = keptRuns(axes, blockSizes(model, block), unit, keptUnits(block.units, removed))
      cuts.set(name, { shape, runs })
    }
  }
  const tensors = new Map<string, TensorInfo>()
  for (const [name, info] of model.weights.tensors) {
    const cut = cuts.get(name)
    tensors.set(name, cut === undefined ? info : { ...info, shape: cut.runs.map(lengthOf) })
  }
  return {
    tensors,
    files: model.weights.files,
    async read(name, into) {
      const cut = cuts.get(name)
      if (cut === undefined) return model.weights.read(name, into)
      return sliceTensor(await model.weights.read(name), 1, cut.shape, cut.runs)
    },
    async readBytes(name) {
      const bytes = await model.weights.readBytes(name)
      const cut = cuts.get(name)
      if (cut === undefined) return bytes
      const elements = cut.shape.reduce((product, size) => product * size, 1)
      return sliceTensor(bytes, bytes.length / elements, cut.shape, cut.runs)
    },
    close: () => model.weights.close(),
  }
}
