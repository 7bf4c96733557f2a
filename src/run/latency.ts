import { type Engine, measureOn } from '../measures/measurement.ts'
import type { DescribedBlock, Model } from '../model/model.ts'
import { emptyPlan } from '../model/plan.ts'
import type { BlockId, PruningPlan, StopSignal, TokenRows } from '../types.ts'
import type { Journal } from './journal.ts'

/**
 * Where the time of one pass of each plan goes, as the measure `passSeconds` says: the rest first, then each block in forward order.
 * Another machine's may stand in for it, to prune for that machine.
 */
export type Timer = (plans: readonly PruningPlan[], signal?: StopSignal) => Promise<Float64Array[]>

/** Times plans on this machine, one pass of `rows` at a time. */
export function timerOf(engine: Engine, rows: TokenRows): Timer {
  const measure = { name: 'passSeconds', repeats: timedPasses } as const
  return (plans, signal) => measureOn(engine, rows, { plans, measure }, { signal })
}

/** Seconds of a block for numbers of units left, the smallest first; of none what a removed branch leaves, as BERT's norm. */
export type SecondsOfWidth = readonly (readonly [units: number, seconds: number])[]

/** The seconds of a pass, part by part. */
export interface PartSeconds {
  /** Embedding, norms outside the blocks, head. */
  readonly rest: number
  /** Blocks of one shape share their curve. */
  readonly blocks: ReadonlyMap<BlockId, SecondsOfWidth>
}

/** Passes of which the median counts. */
const timedPasses = 5

/** Channels of an mlp that kernels take at once: a width costs what the next multiple costs. Head groups are such by themselves. */
const alignment = { K: 1, F: 32 } as const

/** Shares of its units that a block is timed at, besides all and none. */
const narrowShares = [0.25, 0.5, 0.75]

/**
 * Times the parts of `model`, with `narrow` at some widths as well, or recalls what this run measured when it began: the plan
 * depends on it. Blocks of one stack, kind and size are one shape, whose seconds are the median of theirs.
 */
export async function measureParts(
  model: Model,
  timer: Timer,
  journal: Journal,
  {
    narrow,
    start = emptyPlan,
    signal,
  }: {
    readonly narrow: boolean
    /** What holds for every plan of the run. */
    readonly start?: PruningPlan | undefined
    readonly signal?: StopSignal | undefined
  },
): Promise<PartSeconds> {
  const shapes = shapesOf(model)
  const everything = { ...start, blocks: model.blocks.map(({ id }) => id) }
  const narrowed = narrow ? narrowPlans(shapes, start) : []
  const [dense, none, ...others] = await journaledSeconds('part seconds', journal, timer, signal, [
    start,
    everything,
    ...narrowed,
  ])
  const place = new Map(model.blocks.map(({ id }, i) => [id, i + 1]))
  const of = (seconds: Float64Array | undefined, { id }: DescribedBlock) => seconds?.[place.get(id)!] ?? 0
  const blocks = new Map<BlockId, SecondsOfWidth>()
  for (const shape of shapes) {
    const full = median(shape.map((block) => of(dense, block)))
    const points: (readonly [number, number])[] = [[0, median(shape.map((block) => of(none, block)))]]
    const sample = middleOf(shape)
    for (const [i, { units }] of narrowed.entries()) {
      const removed = units[sample.id]
      // relative to the same block whole: where it stands in the model must not count
      if (removed) points.push([sample.units - removed.length, (full * of(others[i], sample)) / of(dense, sample)])
    }
    points.push([sample.units, full])
    for (const { id } of shape) blocks.set(id, ascending(points))
  }
  return { rest: dense![0]!, blocks }
}

/** Seconds of a pass without what `plan` removes, by its parts; a width between two that were timed lies on the line between them. */
export function secondsOf(model: Model, { rest, blocks }: PartSeconds, plan: PruningPlan): number {
  const removed = new Set(plan.blocks)
  return model.blocks.reduce((total, block) => {
    const left = removed.has(block.id) ? 0 : block.units - (plan.units[block.id]?.length ?? 0)
    return total + interpolated(blocks.get(block.id)!, Math.min(block.units, aligned(block, left)))
  }, rest)
}

/** How many times as fast as the dense model its parts say that it is without what `plan` removes. */
export function foretoldSpeedup(model: Model, parts: PartSeconds, plan: PruningPlan): number {
  return secondsOf(model, parts, emptyPlan) / secondsOf(model, parts, plan)
}

/** Dense and pruned model timed whole, in turn: seconds of a pass. Recalled where this run has measured them. */
export async function measureWhole(plan: PruningPlan, timer: Timer, journal: Journal, signal?: StopSignal) {
  const sum = (seconds: Float64Array) => seconds.reduce((total, value) => total + value, 0)
  const [dense, pruned] = await journaledSeconds('whole seconds', journal, timer, signal, [emptyPlan, plan])
  return { dense: sum(dense!), pruned: sum(pruned!) }
}

/** One shape of block for people: how many there are, and their seconds. */
export function describeParts(model: Model, { blocks }: PartSeconds) {
  return shapesOf(model).map((shape) => {
    const { id, stack, kind } = shape[0]!
    return { stack, kind, blocks: shape.length, secondsOfUnits: blocks.get(id)! }
  })
}

/** All of `plans` from the journal, or all of them timed together: seconds of different moments do not compare. */
async function journaledSeconds(
  measure: string,
  journal: Journal,
  timer: Timer,
  signal: StopSignal | undefined,
  plans: readonly PruningPlan[],
): Promise<Float64Array[]> {
  const known = plans.map((plan) => journal.recall({ measure }, plan)).filter((seconds) => seconds !== undefined)
  if (known.length === plans.length) return known
  const measured = await timer(plans, signal)
  for (const [i, plan] of plans.entries()) journal.append({ measure }, plan, measured[i]!)
  return measured
}

function shapesOf(model: Model): DescribedBlock[][] {
  const shapes = new Map<string, DescribedBlock[]>()
  for (const block of model.blocks) {
    const key = `${block.stack} ${block.kind} ${block.units} ${block.parameters}`
    const known = shapes.get(key)
    if (known === undefined) shapes.set(key, [block])
    else known.push(block)
  }
  return [...shapes.values()]
}

/** For each share the plan that narrows one block of each shape to it; none where all shapes are too small to be narrowed. */
function narrowPlans(shapes: readonly DescribedBlock[][], start: PruningPlan): PruningPlan[] {
  const plans = narrowShares.map((share): PruningPlan => {
    const units: Partial<Record<BlockId, readonly number[]>> = {}
    for (const shape of shapes) {
      const block = middleOf(shape)
      const left = aligned(block, Math.max(1, Math.floor(share * block.units)))
      if (left < block.units) units[block.id] = Array.from({ length: block.units - left }, (_, i) => left + i)
    }
    return { ...start, units }
  })
  return plans.filter(({ units }) => Object.keys(units).length > 0)
}

const middleOf = (shape: readonly DescribedBlock[]) => shape[shape.length >> 1]!

/** The units that `left` units are computed as. */
function aligned(block: DescribedBlock, left: number): number {
  const step = alignment[block.table.unit]
  return Math.ceil(left / step) * step
}

/** One point a width, none dearer than a wider one: a narrower block that seems slower is noise, or badly aligned. */
function ascending(points: readonly (readonly [number, number])[]): SecondsOfWidth {
  const widest = [...new Map(points)].sort(([a], [b]) => b - a)
  let most = Number.POSITIVE_INFINITY
  return widest
    .map(([units, seconds]): [number, number] => {
      most = Math.min(most, seconds)
      return [units, most]
    })
    .reverse()
}

function interpolated(points: SecondsOfWidth, units: number): number {
  const above = points.findIndex(([width]) => width >= units)
  const [width, seconds] = points[above]!
  if (width === units) return seconds
  const [narrower, less] = points[above - 1]!
  return less + ((units - narrower) / (width - narrower)) * (seconds - less)
}

function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b)
  const middle = sorted.length >> 1
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2
}
