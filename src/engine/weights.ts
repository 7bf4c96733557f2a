import * as ort from 'onnxruntime-node'
import type { ElementType } from '../graph/operations.ts'
import { originalUnits } from '../model/applyPlan.ts'
import { findRole, keptRuns, keptUnits, lengthOf, pieceAxes, pieceRuns, shapeOf, sliceTensor } from '../model/axes.ts'
import type { Model } from '../model/model.ts'
import { blockSizes, stackSizes } from '../model/plan.ts'
import type { Block, WeightTable } from '../types.ts'

/** Weights as tensors to feed, read once and kept in float32. */
export interface Weights {
  /** The weight called `role` in `table`; of a block, only the units in `kept` when given. */
  get(table: WeightTable, role: string, cut?: Cut): Promise<ort.Tensor>
  /** Numbers with `axes` that the family fixes for the whole model, those of the units that `cut` leaves. */
  constant(axes: string, values: readonly number[], type: ElementType, cut?: Cut): ort.Tensor
}

/** The units of a block that go, counted by the shape letter `unit`. */
export interface Cut {
  readonly block: Block
  readonly unit: string
  readonly removed: readonly number[]
}

/** Cut copies kept at most: those of the plans in flight, not of every plan there ever was. */
const maxCutTensors = 512

/** The weights of `model`, read on first use. */
export function weightsOf(model: Model): Weights {
  const whole = new Map<string, Promise<ort.Tensor>>()
  const cuts = new Map<string, Promise<ort.Tensor>>()

  async function readRole(table: WeightTable, role: string, sizes: Model['sizes']): Promise<[ort.Tensor, string]> {
    const place = findRole(table, role)
    if (place === undefined) throw new RangeError(`weight table has no role "${role}"`)
    const axes = place.piece === undefined ? place.axes : pieceAxes(place.axes, place.piece)
    const key = `${place.name}#${place.piece ?? ''}`
    let tensor = whole.get(key)
    if (tensor === undefined) {
      tensor = (async () => {
        const values = await model.weights.read(place.name)
        const piece =
          place.piece === undefined
            ? values
            : sliceTensor(values, 1, shapeOf(place.axes, sizes), pieceRuns(place.axes, sizes, place.piece))
        return new ort.Tensor('float32', piece, shapeOf(axes, sizes))
      })()
      whole.set(key, tensor)
    }
    return [await tensor, axes]
  }

  return {
    async get(table, role, cut) {
      if (cut === undefined) return (await readRole(table, role, model.sizes))[0]
      const sizes = blockSizes(model, cut.block)
      const key = `${cut.block.id} ${role} ${cut.removed.join(',')}`
      let tensor = cuts.get(key)
      if (tensor === undefined) {
        tensor = (async () => {
          const [full, axes] = await readRole(table, role, sizes)
          if (cut.removed.length === 0 || !axes.includes(cut.unit)) return full
          const runs = keptRuns(axes, sizes, cut.unit, keptUnits(cut.block.units, cut.removed))
          const values = sliceTensor(full.data as Float32Array, 1, full.dims, runs)
          return new ort.Tensor('float32', values, runs.map(lengthOf))
        })()
        if (cuts.size >= maxCutTensors) cuts.delete(cuts.keys().next().value!)
        cuts.set(key, tensor)
      }
      return tensor
    },

    constant(axes, values, type, cut) {
      const sizes = cut === undefined ? model.sizes : stackSizes(model, cut.block.stack)
      const shape = shapeOf(axes, sizes)
      const whole = Float32Array.from(values)
      if (cut === undefined) return constantTensor(type, whole, shape)
      const left = keptUnits(cut.block.units, cut.removed)
      const units = originalUnits(model, cut.block)
      const runs = keptRuns(
        axes,
        sizes,
        cut.unit,
        left.map((position) => units[position]!),
      )
      return constantTensor(type, sliceTensor(whole, 1, shape, runs), runs.map(lengthOf))
    },
  }
}

function constantTensor(type: ElementType, values: Float32Array, shape: readonly number[]): ort.Tensor {
  if (type === 'float32') return new ort.Tensor(type, values, shape)
  return type === 'int64'
    ? new ort.Tensor(type, BigInt64Array.from(values, BigInt), shape)
    : new ort.Tensor(type, Int32Array.from(values), shape)
}
