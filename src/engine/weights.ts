import type { Device, Handle } from '../device/device.ts'
import type { ElementType } from '../graph/operations.ts'
import { originalUnits } from '../model/applyPlan.ts'
import { findRole, keptRuns, keptUnits, lengthOf, shapeOf, sliceTensor } from '../model/axes.ts'
import type { DescribedBlock, Model } from '../model/model.ts'
import { outputRoles } from '../model/outputBias.ts'
import { blockSizes, stackSizes } from '../model/plan.ts'
import type { WeightTable } from '../types.ts'
import { type Edit, untouched } from './edit.ts'
import type { MemoryPlan } from './memory.ts'
import { type StoredWeights, storedWeights } from './storedWeights.ts'

/** The weights of a model as plans leave them, on a device. */
export interface Weights {
  /** The weight called `role` in `table`; of a block, what `edit` leaves of it, with what it adds. */
  get(table: WeightTable, role: string, of?: Edited): Promise<Handle>
  /** Numbers with `axes` that the family fixes for the whole model, those of the units that are left. */
  constant(axes: string, values: readonly number[], type: ElementType, of?: Edited): Handle
  readonly values: StoredWeights['values']
  readonly prefetch: StoredWeights['prefetch']
  readonly leave: StoredWeights['leave']
}

/** A block and what is done to it. */
export interface Edited {
  readonly block: DescribedBlock
  readonly edit: Edit
}

/** Copies of blocks with units less kept at most: those of the plans in flight, not of every plan there ever was. */
const maxEditedTensors = 512

/** The weights of `model` on `device`; `streamed`: let go when `leave` says so. */
export function weightsOf(model: Model, device: Device, residency: MemoryPlan['weights'] = 'resident'): Weights {
  const stored = storedWeights(model, device, residency)
  const edited = editedWeights(model, device, stored)
  return {
    async get(table, role, of) {
      if (of !== undefined && of.edit !== untouched) return edited.get(table, role, of)
      return (await stored.load(table, role, of === undefined ? model.sizes : blockSizes(model, of.block))).handle
    },
    constant(axes, values, type, of) {
      const sizes = of === undefined ? model.sizes : stackSizes(model, of.block.stack)
      const shape = shapeOf(axes, sizes)
      const all = Float32Array.from(values)
      if (of === undefined) return uploadAs(device, type, all, shape)
      const units = originalUnits(model, of.block)
      const kept = keptUnits(of.block.units, of.edit.removed).map((position) => units[position]!)
      const runs = keptRuns(axes, sizes, of.block.table.unit, kept)
      return uploadAs(device, type, sliceTensor(all, 1, shape, runs), runs.map(lengthOf))
    },
    values: (table, role) => stored.values(table, role),
    prefetch: (table, roles, sizes) => stored.prefetch(table, roles, sizes),
    async leave(table, roles, isBlock) {
      // they are of the block that is left: walks are breadth first
      if (residency === 'streamed') edited.clear()
      await stored.leave(table, roles, isBlock)
    },
  }
}

/** What edits leave of weights: copies, kept while they are among the last that were used. */
function editedWeights(model: Model, device: Device, stored: StoredWeights) {
  const edited = new Map<Edit, Map<string, Promise<Handle>>>()
  /** Edited tensors that are copies: where nothing is cut out of a weight, an edit has the weight itself. */
  const copies = new WeakSet<Handle>()
  let tensorCount = 0

  function copyOf(values: Float32Array, dims: readonly number[]): Handle {
    const copy = device.upload('float32', values, dims)
    copies.add(copy)
    return copy
  }

  async function editOf(table: WeightTable, role: string, { block, edit }: Edited): Promise<Handle> {
    const added = role === outputRoles[block.kind].bias ? edit.bias : undefined
    if (added !== undefined) {
      const own = findRole(table, role) && (await stored.load(table, role, model.sizes)).values
      return copyOf(own === undefined ? added : added.map((value, i) => value + own[i]!), [added.length])
    }
    const sizes = blockSizes(model, block)
    const { values, axes, dims, handle } = await stored.load(table, role, sizes)
    const unit = block.table.unit
    if (edit.removed.length === 0 || !axes.includes(unit)) return handle
    const runs = keptRuns(axes, sizes, unit, keptUnits(block.units, edit.removed))
    return copyOf(sliceTensor(values, 1, dims, runs), runs.map(lengthOf))
  }

  function forget(edit: Edit): void {
    const tensors = edited.get(edit)!
    edited.delete(edit)
    tensorCount -= tensors.size
    for (const tensor of tensors.values()) {
      tensor.then((handle) => copies.delete(handle) && device.free(handle)).catch(() => {})
    }
  }

  return {
    get(table: WeightTable, role: string, of: Edited): Promise<Handle> {
      const tensors = edited.get(of.edit) ?? new Map<string, Promise<Handle>>()
      // the edit used last comes last
      edited.delete(of.edit)
      edited.set(of.edit, tensors)
      const known = tensors.get(role)
      if (known !== undefined) return known
      while (tensorCount >= maxEditedTensors && edited.size > 1) forget(edited.keys().next().value!)
      const tensor = editOf(table, role, of)
      tensors.set(role, tensor)
      tensorCount += 1
      return tensor
    },
    clear() {
      for (const edit of [...edited.keys()]) forget(edit)
    },
  }
}

function uploadAs(device: Device, type: ElementType, values: Float32Array, dims: readonly number[]): Handle {
  if (type === 'float32') return device.upload(type, values, dims)
  return type === 'int64'
    ? device.upload(type, BigInt64Array.from(values, BigInt), dims)
    : device.upload(type, Int32Array.from(values), dims)
}
