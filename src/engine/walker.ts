import type { Device } from '../device/device.ts'
import { openSpillFile, type SpillFile } from '../format/spillFile.ts'
import type { Program, Stage } from '../graph/program.ts'
import type { Chunk, Observer, State, Walking } from '../measures/machine.ts'
import type { Model } from '../model/model.ts'
import type { TokenRows } from '../types.ts'
import { type BatchSizes, batchSizesOf, chunksOf, dataOf } from './batches.ts'
import { type Edit, internedEdits } from './edit.ts'
import { lifetimesOn } from './lifetimes.ts'
import type { MemoryPlan } from './memory.ts'
import type { Runner } from './runner.ts'
import { walkBreadthFirst } from './walk/breadthFirst.ts'
import { walkDepthFirst } from './walk/depthFirst.ts'
import { type PrefixCache, prefixCache } from './walk/prefixCache.ts'
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

/** Different edits known before all are forgotten: a search over masks makes new ones for ever. */
const maxEdits = 10_000

/** What was remembered of a chunk of rows. */
interface RememberedChunk {
  readonly rows: TokenRows
  readonly start: number
  readonly bytes: number
  readonly cache: PrefixCache<State, Edit>
}

/** A walker of the plans of `model`. */
export function walkerOn(
  model: Model,
  device: Device,
  { program, unpadded, runner, memory, spillFolder }: WalkerOptions,
): Walker {
  const width = model.sizes['D']!
  const lifetimes = lifetimesOn(device)
  const edits = internedEdits(model)
  let spill: Promise<SpillFile> | undefined
  /** Of the rows walked last, the latest first. */
  let remembered: readonly RememberedChunk[] = []

  /** The cache of a chunk of rows. Those walked longest ago are forgotten where all together need too much memory. */
  function cacheOf(rows: TokenRows, { start, batches }: Chunk, sizes: BatchSizes): PrefixCache<State, Edit> {
    const known = remembered.find((entry) => entry.rows === rows && entry.start === start)
    const bytes = batches.length * sizes.remembered
    const latest = known ?? { rows, start, bytes, cache: prefixCache<State, Edit>(lifetimes) }
    let total = 0
    remembered = [latest, ...remembered.filter((entry) => entry !== latest)].filter((entry) => {
      total += entry.bytes
      const stays = entry === latest || total <= memory.stateBytes
      if (!stays) entry.cache.clear()
      return stays
    })
    return latest.cache
  }

  /** The walk of plans whose edits are `known` over one chunk. */
  function walkOf(
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
      ...lifetimes,
    }
  }

  /** All plans together, depth first; all weights stay. */
  async function walkResident(walking: Walking, stages: readonly Stage[], observer: Observer): Promise<void> {
    const { rows, plans, prefix, fewStates } = walking
    const known = (prefix === undefined ? plans : [...plans, prefix]).map((plan) => edits.of(plan, stages))
    const sizes = batchSizesOf(rows, program, width)
    const batches = fewStates ? 1 : Math.max(1, Math.floor(memory.stateBytes / sizes.remembered))
    for (const chunk of walking.chunk ? [walking.chunk] : chunksOf(rows, sizes.batchRows, batches)) {
      await observer.chunk?.(chunk)
      const walk = walkOf(walking, stages, known, chunk, observer)
      const cache = fewStates ? undefined : cacheOf(rows, chunk, sizes)
      const start = chunk.batches.map((batch) => dataOf(device, rows, batch, program.readsPadding))
      const all = plans.map((_, i) => i)
      await walkDepthFirst(walk, all, start, { cache, prefix: prefix && plans.length })
    }
  }

  /** So many plans at a time as their states allow, breadth first; the weights of a stage are read once for all of them. */
  async function walkStreamed(walking: Walking, stages: readonly Stage[], observer: Observer): Promise<void> {
    const { rows, plans } = walking
    const known = plans.map((plan) => edits.of(plan, stages))
    const sizes = batchSizesOf(rows, program, width)
    // what enters a stage and what leaves it are alive together
    const fitting = Math.max(1, Math.floor(memory.stateBytes / sizes.alive) - 2)
    const batches = Math.max(1, Math.floor(fitting / plans.length))
    const groups = groupsOf(known, stages.length, Math.max(1, Math.floor(fitting / batches)))
    for (const chunk of walking.chunk ? [walking.chunk] : chunksOf(rows, sizes.batchRows, batches)) {
      await observer.chunk?.(chunk)
      for (const group of groups) {
        const atHead = (group.length + 1) * chunk.batches.length * sizes.alive
        const start = chunk.batches.map((batch) => dataOf(device, rows, batch, program.readsPadding))
        await walkBreadthFirst(
          {
            ...walkOf(walking, stages, known, chunk, observer),
            enter(stage, next) {
              runner.prefetch(stages[stage]!)
              // the next block is read while this one computes; what is not a block may be as large as all that is allowed
              const following = next === undefined ? undefined : stages[next]
              if (stages[stage]!.block && following?.block) runner.prefetch(following)
            },
            async leave(stage) {
              await runner.leave(stages[stage]!)
              if (stages[stage]!.block === undefined) collectGarbage()
            },
            ...(atHead > memory.stateBytesAtHead && { park }),
          },
          group,
          start,
        )
        await runner.leaveOuter()
        device.trim()
        collectGarbage()
        if (spill !== undefined) (await spill).clear()
      }
    }
  }

  /** Puts the final hidden states of a group aside: beside the weights of the head there is no room for all of them. */
  async function park(state: State): Promise<() => Promise<State>> {
    spill ??= openSpillFile(spillFolder ?? '.')
    const file = await spill
    const parts: { readonly position: number; readonly length: number; readonly dims: readonly number[] }[] = []
    for (const { hidden } of state) {
      const values = (await device.read(hidden!)) as Float32Array
      parts.push({ position: await file.write(values), length: values.length, dims: hidden!.dims })
    }
    lifetimes.release(state)
    return async () => {
      // the states that are parked now have left their memory
      device.trim()
      const brought: State = await Promise.all(
        parts.map(async ({ position, length, dims }) => ({
          hidden: device.upload('float32', await file.read(position, length), dims),
        })),
      )
      lifetimes.retain(brought)
      return brought
    }
  }

  return {
    async walk(walking, observer) {
      if (edits.size > maxEdits) {
        for (const { cache } of remembered) cache.clear()
        edits.clear()
      }
      const { stages } = walking.rows.lengths === undefined ? unpadded : program
      await (memory.weights === 'resident' ? walkResident : walkStreamed)(walking, stages, observer)
    },
    async close() {
      if (spill !== undefined) await (await spill).close()
    },
  }
}

/** Plans in groups of at most `size`, those that part late from the others together: they share most. */
function groupsOf(known: readonly (readonly (Edit | undefined)[])[], stages: number, size: number): number[][] {
  const plans = known.map((_, i) => i)
  const common = commonEdits({ stages, edit: (plan: number, stage: number) => known[plan]![stage] }, plans)
  const parting = known.map((edits) => edits.findIndex((edit, stage) => edit !== common[stage]))
  const sorted = plans.toSorted((a, b) => (parting[b]! >>> 0) - (parting[a]! >>> 0))
  return Array.from({ length: Math.ceil(plans.length / size) }, (_, i) => sorted.slice(i * size, (i + 1) * size))
}

/** Where the program lets us ask for it: weights that were let go are large, and V8 is in no hurry. */
function collectGarbage(): void {
  globalThis.gc?.()
}
