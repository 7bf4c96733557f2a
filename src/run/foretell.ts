import type { Method, Scale } from '../methods/method.ts'
import type { MethodOptions } from '../methods/options.ts'
import { layersOf } from '../model/layers.ts'
import type { Model } from '../model/model.ts'
import type { PruningPlan } from '../types.ts'

/** What a run will cost, said before it starts to search. */
export interface ForetoldCost {
  /** Forward passes over the calibration text; a plan that shares its first half with another counts as half of one. */
  readonly passes: number
  readonly seconds: number
  /** Steps that reach the budget. */
  readonly steps: number
  /** The largest memory of this process so far: the weights and the states of one pass are in it. */
  readonly memoryBytes: number
  /** A loop that would find a plan of the same size in less time. */
  readonly cheaper?: { readonly name: string; readonly seconds: number } | undefined
}

/** How large a search is: what may go, and how much of it has to. */
export function scaleOf(
  model: Model,
  most: PruningPlan,
  rows: number,
  isReached: (plan: PruningPlan) => boolean,
): Scale {
  const removable = new Set(most.blocks)
  const blocks = model.blocks.map(({ id }) => id).filter((id) => removable.has(id))
  const layers = layersOf(model).filter((layer) => layer.blocks.some(({ id }) => removable.has(id))).length
  let [low, high] = [0, blocks.length]
  while (high - low > 1) {
    const middle = (low + high) >> 1
    if (isReached({ ...most, blocks: blocks.slice(0, middle) })) high = middle
    else low = middle
  }
  return { blocks: blocks.length, layers, steps: high, rows }
}

/** The cost of `chosen`, from the seconds of one pass, and the cheapest of `others` where that is at most half of it. */
export function foretell(
  chosen: { readonly method: Method; readonly options: MethodOptions },
  others: readonly { readonly method: Method; readonly options: MethodOptions }[],
  scale: Scale,
  secondsOfPass: number,
  memoryBytes: number,
): ForetoldCost {
  const passesOf = ({ method, options }: typeof chosen) => method.passes?.(scale, options) ?? 1 + scale.steps
  const passes = passesOf(chosen)
  const [cheapest] = others
    .map((other) => ({ name: other.method.name, passes: passesOf(other) }))
    .filter((other) => other.passes <= passes / 2)
    .toSorted((a, b) => a.passes - b.passes)
  return {
    passes,
    seconds: passes * secondsOfPass,
    steps: scale.steps,
    memoryBytes,
    ...(cheapest && { cheaper: { name: cheapest.name, seconds: cheapest.passes * secondsOfPass } }),
  }
}
