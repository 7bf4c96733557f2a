import type { Device } from '../device/device.ts'
import type { Program, Stage } from '../graph/program.ts'
import type { Chunk, Observer, State, Walking } from '../measures/machine.ts'
import type { Model } from '../model/model.ts'
import { batchSizesOf, chunksOf, dataOf } from './batches.ts'
import { type Edit, type Edits, internedEdits } from './edit.ts'
import { type Lifetimes, lifetimesOn } from './lifetimes.ts'
import type { MemoryPlan } from './memory.ts'
import { giveBack, type Parking, parkingIn } from './parking.ts'
import { type RememberedChunks, rememberedChunks } from './rememberedChunks.ts'
import type { Runner } from './runner.ts'
import { leaveOuter, leaveStage, prefetchStage } from './stageWeights.ts'
import { walkBreadthFirst } from './walk/breadthFirst.ts'
import { walkDepthFirst } from './walk/depthFirst.ts'
import { commonEdits, type Walk } from './walk/walk.ts'

/** Walks plans over rows, in the order and in the pieces that memory allows. */
export interface Walker {
  walk(walking: Walking, observer: Observer): Promise<void>
  close(): Promise<void>
}

export interface WalkerOptions {
  readonly program: Program
  /** The same for rows that are all full. */
  readonly unpadded: Program
  readonly runner: Runner
  readonly memory: MemoryPlan
  readonly spillFolder: string | undefined
}

/** What a walk needs besides what is asked. */
interface Ground extends WalkerOptions {
  readonly model: Model
  readonly device: Device
  /** Hidden width D. */
  readonly width: number
  readonly lifetimes: Lifetimes
  readonly edits: Edits
  readonly remembered: RememberedChunks
  readonly parking: Parking
}

/** Different edits known before all are forgotten: a search over masks makes new ones for ever. */
const maxEdits = 10_000

/** A walker of the plans of `model`. */
export function walkerOn(model: Model, device: Device, options: WalkerOptions): Walker {
  const { program, unpadded, memory, spillFolder = '.' } = options
  const lifetimes = lifetimesOn(device)
  const ground: Ground = {
    ...options,
    model,
    device,
    width: model.sizes['D']!,
    lifetimes,
    edits: internedEdits(model),
    remembered: rememberedChunks(memory.stateBytes, lifetimes),
    parking: parkingIn(spillFolder, device, lifetimes),
  }
  return {
    async walk(walking, observer) {
      const { edits, remembered } = ground
      if (edits.size > maxEdits) {
        remembered.clear()
        edits.clear()
      }
      const { stages } = walking.rows.lengths === undefined ? unpadded : program
      await (memory.weights === 'resident' ? walkResident : walkStreamed)(ground, walking, stages, observer)
    },
    close: () => ground.parking.close(),
  }
}

/** All plans together, depth first; all weights stay. */
async function walkResident(
  ground: Ground,
  walking: Walking,
  stages: readonly Stage[],
  observer: Observer,
): Promise<void> {
  const { edits, program, width, memory, remembered } = ground
  const { rows, plans, prefix, fewStates } = walking
  const known = (prefix === undefined ? plans : [...plans, prefix]).map((plan) => edits.of(plan, stages))
  const sizes = batchSizesOf(rows, program, width)
  const batches = fewStates ? 1 : Math.max(1, Math.floor(memory.stateBytes / sizes.remembered))
  for (const chunk of walking.chunk ? [walking.chunk] : chunksOf(rows, sizes.batchRows, batches)) {
    await observer.chunk?.(chunk)
    const walk = walkOf(ground, walking, stages, known, chunk, observer)
    const cache = fewStates ? undefined : remembered.of(rows, chunk, chunk.batches.length * sizes.remembered)
    const all = plans.map((_, i) => i)
    await walkDepthFirst(walk, all, startOf(ground, walking, chunk), { cache, prefix: prefix && plans.length })
  }
}

/** So many plans at a time as their states allow, breadth first; the weights of a stage are read once for all of them. */
async function walkStreamed(
  ground: Ground,
  walking: Walking,
  stages: readonly Stage[],
  observer: Observer,
): Promise<void> {
  const { model, edits, program, width, memory, runner, parking, device } = ground
  const { rows, plans } = walking
  const known = plans.map((plan) => edits.of(plan, stages))
  const sizes = batchSizesOf(rows, program, width)
  // what enters a stage and what leaves it are alive together
  const fitting = Math.max(1, Math.floor(memory.stateBytes / sizes.alive) - 2)
  const batches = Math.max(1, Math.floor(fitting / plans.length))
  const groups = groupsOf(known, stages.length, Math.max(1, Math.floor(fitting / batches)))
  for (const chunk of walking.chunk ? [walking.chunk] : chunksOf(rows, sizes.batchRows, batches)) {
    await observer.chunk?.(chunk)
    const walk = {
      ...walkOf(ground, walking, stages, known, chunk, observer),
      enter(stage: number, next: number | undefined) {
        prefetchStage(model, runner.weights, stages[stage]!)
        // the next block is read while this one computes; what is not a block may be as large as all that is allowed
        const following = next === undefined ? undefined : stages[next]
        if (stages[stage]!.block && following?.block) prefetchStage(model, runner.weights, following)
      },
      async leave(stage: number) {
        await leaveStage(runner.weights, stages[stage]!)
        if (stages[stage]!.block === undefined) giveBack(device)
      },
    }
    for (const group of groups) {
      const atHead = (group.length + 1) * chunk.batches.length * sizes.alive
      const { park } = parking
      const parked = atHead > memory.stateBytesAtHead ? { ...walk, park } : walk
      await walkBreadthFirst(parked, group, startOf(ground, walking, chunk))
      await leaveOuter(model, runner.weights)
      giveBack(device)
      await parking.clear()
    }
  }
}

/** The walk of plans whose edits are `known` over one chunk. */
function walkOf(
  { runner, lifetimes }: Ground,
  { signal }: Walking,
  stages: readonly Stage[],
  known: readonly (readonly (Edit | undefined)[])[],
  chunk: Chunk,
  observer: Observer,
): Walk<State, Edit> {
  return {
    stages: stages.length,
    edit: (plan, stage) => known[plan]![stage],
    async step(index, edit, state, members) {
      signal?.throwIfAborted()
      const stage = stages[index]!
      const at = { stage, plans: members, chunk }
      await observer.before?.({ ...at, state }, (i) => runner.channels(stage, edit, state[i]!))
      const next = await runner.stage(stage, edit, state)
      lifetimes.retain(next)
      await observer.after?.({ ...at, state: next })
      return next
    },
    arrive: (arrived, state) => observer.arrive?.(arrived, chunk, state) ?? Promise.resolve(),
    retain: lifetimes.retain,
    release: lifetimes.release,
  }
}

/** What the first stage reads of each micro-batch. */
function startOf({ device, program }: Ground, { rows }: Walking, { batches }: Chunk): State {
  return batches.map((batch) => dataOf(device, rows, batch, program.readsPadding))
}

/** Plans in groups of at most `size`, those that part late from the others together: they share most. */
function groupsOf(known: readonly (readonly (Edit | undefined)[])[], stages: number, size: number): number[][] {
  const plans = known.map((_, i) => i)
  const common = commonEdits({ stages, edit: (plan: number, stage: number) => known[plan]![stage] }, plans)
  const parting = known.map((edits) => edits.findIndex((edit, stage) => edit !== common[stage]))
  const sorted = plans.toSorted((a, b) => (parting[b]! >>> 0) - (parting[a]! >>> 0))
  return Array.from({ length: Math.ceil(plans.length / size) }, (_, i) => sorted.slice(i * size, (i + 1) * size))
}
