import type { Device, Handle } from '../device/device.ts'
import { floatPool } from '../device/floatPool.ts'
import type { ElementType } from '../graph/operations.ts'
import { originalUnits } from '../model/applyPlan.ts'
import { findRole, keptRuns, keptUnits, lengthOf, pieceAxes, pieceRuns, shapeOf, sliceTensor } from '../model/axes.ts'
import type { DescribedBlock, Model } from '../model/model.ts'
import { outputRoles } from '../model/outputBias.ts'
import { blockSizes, stackSizes } from '../model/plan.ts'
import type { WeightTable } from '../types.ts'
import { type Edit, untouched } from './edit.ts'
import type { MemoryPlan } from './memory.ts'

/** The weights of a model on a device: what is resident, and what is let go. The only place that knows a stored type. */
export interface Weights {
  /** The weight called `role` in `table`; of a block, what `edit` leaves of it, with what it adds. */
  get(table: WeightTable, role: string, of?: Edited): Promise<Handle>
  /** Numbers with `axes` that the family fixes for the whole model, those of the units that are left. */
  constant(axes: string, values: readonly number[], type: ElementType, of?: Edited): Handle
  /** The numbers of a weight as they are stored, float32. */
  values(table: WeightTable, role: string): Promise<Float32Array>
  /** Begins to read weights that are needed next. */
  prefetch(table: WeightTable, roles: readonly string[], sizes: Model['sizes']): void
  /** Lets go of what was read of a block, or of `roles` of the weights outside; nothing where weights are resident. */
  leave(table: WeightTable, roles: readonly string[], isBlock: boolean): Promise<void>
}

/** A block and what is done to it. */
export interface Edited {
  readonly block: DescribedBlock
  readonly edit: Edit
}

/** Copies of blocks with units less kept at most: those of the plans in flight, not of every plan there ever was. */
const maxEditedTensors = 512

/**
 * The weights of `model`, read on first use, widened to float32 and kept, until `leave` where they are `streamed`: what a block leaves
 * behind holds the next one of its kind, which is of the same sizes.
 */
export function weightsOf(model: Model, device: Device, residency: MemoryPlan['weights'] = 'resident'): Weights {
  const whole = new Map<string, Promise<Loaded>>()
  /** Fused tensors whose pieces are asked for one by one. */
  const fused = new Map<string, Promise<Float32Array<ArrayBuffer>>>()
  const pool = floatPool(16)
  const edited = new Map<Edit, Map<string, Promise<Handle>>>()
  /** Edited tensors that are copies: where nothing is cut out of a weight, an edit has the weight itself. */
  const copies = new WeakSet<Handle>()
  let editedTensors = 0

  function copyOf(values: Float32Array, dims: readonly number[]): Handle {
    const copy = device.upload('float32', values, dims)
    copies.add(copy)
    return copy
  }

  function load(table: WeightTable, role: string, sizes: Model['sizes']): Promise<Loaded> {
    const place = findRole(table, role)
    if (place === undefined) throw new RangeError(`weight table has no role "${role}"`)
    const key = keyOf(place)
    let loaded = whole.get(key)
    if (loaded === undefined) {
      loaded = (async () => {
        const axes = place.piece === undefined ? place.axes : pieceAxes(place.axes, place.piece)
        const dims = shapeOf(axes, sizes)
        const values =
          place.piece === undefined
            ? await readInto(place.name, dims)
            : sliceTensor(
                await readFused(place.name),
                1,
                shapeOf(place.axes, sizes),
                pieceRuns(place.axes, sizes, place.piece),
              )
        return { values, axes, dims, handle: device.upload('float32', values, dims) }
      })()
      whole.set(key, loaded)
    }
    return loaded
  }

  /** A tensor in memory that a block before it left, where there is any. */
  function readInto(name: string, dims: readonly number[]): Promise<Float32Array<ArrayBuffer>> {
    if (residency === 'resident') return model.weights.read(name)
    return model.weights.read(name, pool.take(dims.reduce((product, size) => product * size, 1)))
  }

  function readFused(name: string): Promise<Float32Array<ArrayBuffer>> {
    const known = fused.get(name) ?? model.weights.read(name)
    fused.set(name, known)
    return known
  }

  /** What `edit` leaves of a weight. */
  async function editOf(table: WeightTable, role: string, { block, edit }: Edited): Promise<Handle> {
    const added = role === outputRoles[block.kind].bias ? edit.bias : undefined
    if (added !== undefined) {
      const own = findRole(table, role) && (await load(table, role, model.sizes)).values
      return copyOf(own === undefined ? added : added.map((value, i) => value + own[i]!), [added.length])
    }
    const sizes = blockSizes(model, block)
    const { values, axes, dims, handle } = await load(table, role, sizes)
    const unit = block.table.unit
    if (edit.removed.length === 0 || !axes.includes(unit)) return handle
    const runs = keptRuns(axes, sizes, unit, keptUnits(block.units, edit.removed))
    return copyOf(sliceTensor(values, 1, dims, runs), runs.map(lengthOf))
  }

  function forgetOldest(): void {
    const [oldest, tensors] = edited.entries().next().value!
    forget(oldest, tensors)
  }

  function forget(edit: Edit, tensors: ReadonlyMap<string, Promise<Handle>>): void {
    edited.delete(edit)
    editedTensors -= tensors.size
    for (const tensor of tensors.values()) {
      tensor.then((handle) => copies.delete(handle) && device.free(handle)).catch(() => {})
    }
  }

  return {
    async get(table, role, of) {
      if (of === undefined || of.edit === untouched) {
        return (await load(table, role, of === undefined ? model.sizes : blockSizes(model, of.block))).handle
      }
      const tensors = edited.get(of.edit) ?? new Map<string, Promise<Handle>>()
      // the edit used last comes last
      edited.delete(of.edit)
      edited.set(of.edit, tensors)
      let tensor = tensors.get(role)
      if (tensor === undefined) {
        while (editedTensors >= maxEditedTensors && edited.size > 1) forgetOldest()
        tensor = editOf(table, role, of)
        tensors.set(role, tensor)
        editedTensors += 1
      }
      return tensor
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

    async values(table, role) {
      const place = findRole(table, role)
      // not from the pool: whoever asks may keep it
      if (residency === 'streamed' && place?.piece === undefined) return model.weights.read(place!.name)
      return (await load(table, role, model.sizes)).values
    },

    prefetch(table, roles, sizes) {
      for (const role of roles) {
        // an output bias that a plan adds may have no weight of its own; a failure is told to who asks for the weight
        if (findRole(table, role) !== undefined) load(table, role, sizes).catch(() => {})
      }
    },

    async leave(table, roles, isBlock) {
      if (residency === 'resident') return
      // they are of the block that is left: walks are breadth first
      for (const [edit, tensors] of edited) forget(edit, tensors)
      for (const role of roles) {
        const place = findRole(table, role)
        if (place === undefined) continue
        fused.delete(place.name)
        const key = keyOf(place)
        const loading = whole.get(key)
        whole.delete(key)
        // what could not be read was told to who asked for it
        const loaded = await loading?.catch(() => undefined)
        if (loaded === undefined) continue
        device.free(loaded.handle)
        if (isBlock && place.piece === undefined) pool.give(loaded.values)
      }
    },
  }
}

function keyOf({ name, piece }: { readonly name: string; readonly piece?: number | undefined }): string {
  return `${name}#${piece ?? ''}`
}

interface Loaded {
  readonly values: Float32Array<ArrayBuffer>
  readonly axes: string
  readonly dims: readonly number[]
  readonly handle: Handle
}

function uploadAs(device: Device, type: ElementType, values: Float32Array, dims: readonly number[]): Handle {
  if (type === 'float32') return device.upload(type, values, dims)
  return type === 'int64'
    ? device.upload(type, BigInt64Array.from(values, BigInt), dims)
    : device.upload(type, Int32Array.from(values), dims)
}
