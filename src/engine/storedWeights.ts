import type { Device, Handle } from '../device/device.ts'
import { floatPool } from '../device/floatPool.ts'
import { findRole, pieceAxes, pieceRuns, shapeOf, sliceTensor } from '../model/axes.ts'
import type { Model } from '../model/model.ts'
import type { WeightTable } from '../types.ts'
import type { MemoryPlan } from './memory.ts'

/** A weight as the checkpoint has it, widened to float32. */
export interface Loaded {
  readonly values: Float32Array<ArrayBuffer>
  readonly axes: string
  readonly dims: readonly number[]
  readonly handle: Handle
}

/** The weights of a checkpoint on a device: what is resident, and what is let go. The only place that knows a stored type. */
export interface StoredWeights {
  load(table: WeightTable, role: string, sizes: Model['sizes']): Promise<Loaded>
  /** The numbers of a weight, which the caller may keep. */
  values(table: WeightTable, role: string): Promise<Float32Array>
  /** Begins to read weights that are needed next. */
  prefetch(table: WeightTable, roles: readonly string[], sizes: Model['sizes']): void
  /** Lets go of what was read of a block, or of `roles` of the weights outside; nothing where weights are resident. */
  leave(table: WeightTable, roles: readonly string[], isBlock: boolean): Promise<void>
}

/**
 * The weights of `model`, read on first use, widened to float32 and kept, until `leave` where they are `streamed`: what a block leaves
 * behind holds the next one of its kind, which is of the same sizes.
 */
export function storedWeights(model: Model, device: Device, residency: MemoryPlan['weights']): StoredWeights {
  const whole = new Map<string, Promise<Loaded>>()
  /** Fused tensors whose pieces are asked for one by one. */
  const fused = new Map<string, Promise<Float32Array<ArrayBuffer>>>()
  const pool = floatPool(16)

  async function read({ name, axes: stored, piece }: Place, sizes: Model['sizes']): Promise<Loaded> {
    const axes = piece === undefined ? stored : pieceAxes(stored, piece)
    const dims = shapeOf(axes, sizes)
    const values =
      piece === undefined
        ? await readInto(name, dims)
        : sliceTensor(await readFused(name), 1, shapeOf(stored, sizes), pieceRuns(stored, sizes, piece))
    return { values, axes, dims, handle: device.upload('float32', values, dims) }
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

  return {
    load(table, role, sizes) {
      const place = placeOf(table, role)
      const loaded = whole.get(keyOf(place)) ?? read(place, sizes)
      whole.set(keyOf(place), loaded)
      return loaded
    },

    async values(table, role) {
      const place = placeOf(table, role)
      // not from the pool: whoever asks may keep it
      if (residency === 'streamed' && place.piece === undefined) return model.weights.read(place.name)
      return (await this.load(table, role, model.sizes)).values
    },

    prefetch(table, roles, sizes) {
      for (const role of roles) {
        // an output bias that a plan adds may have no weight of its own; a failure is told to who asks for the weight
        if (findRole(table, role) !== undefined) this.load(table, role, sizes).catch(() => {})
      }
    },

    async leave(table, roles, isBlock) {
      if (residency === 'resident') return
      for (const role of roles) {
        const place = findRole(table, role)
        if (place === undefined) continue
        fused.delete(place.name)
        const loading = whole.get(keyOf(place))
        whole.delete(keyOf(place))
        // what could not be read was told to who asked for it
        const loaded = await loading?.catch(() => undefined)
        if (loaded === undefined) continue
        device.free(loaded.handle)
        if (isBlock && place.piece === undefined) pool.give(loaded.values)
      }
    },
  }
}

type Place = NonNullable<ReturnType<typeof findRole>>

function placeOf(table: WeightTable, role: string): Place {
  const place = findRole(table, role)
  if (place === undefined) throw new RangeError(`weight table has no role "${role}"`)
  return place
}

function keyOf({ name, piece }: Place): string {
  return `${name}#${piece ?? ''}`
}
