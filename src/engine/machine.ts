import { type Device, type Handle, readFloats, takeFloats } from '../device/device.ts'
import { CalibrationError, EngineError, UnsupportedModelError } from '../errors.ts'
import type { AttentionKernel } from '../graph/attention.ts'
import type { Graph } from '../graph/graph.ts'
import { type HeadKind, programOf, type Stage } from '../graph/program.ts'
import type { HostTensor, Machine, Observer, State, Tensors, Walking } from '../measures/machine.ts'
import { findRole } from '../model/axes.ts'
import type { Model } from '../model/model.ts'
import { outputRoles } from '../model/outputBias.ts'
import type { Block, StackName, TokenRows, WeightTable } from '../types.ts'
import { chunksOf, dataOf, type SizedChunk } from './batches.ts'
import { type Edit, internedEdits, untouched } from './edit.ts'
import { environmentCache } from './environment.ts'
import { lifetimesOn } from './lifetimes.ts'
import { walkDepthFirst } from './walk/depthFirst.ts'
import { type PrefixCache, prefixCache } from './walk/prefixCache.ts'
import { type Edited, weightsOf } from './weights.ts'

export interface MachineOptions {
  readonly device: Device
  readonly kernel?: Exclude<AttentionKernel, 'cached' | 'cachedPrimitives'> | undefined
}

/** Bytes of hidden states remembered between walks; calibration beyond that goes through in several chunks of rows. */
const rememberedBytes = 4 * 2 ** 30

/** Different edits known before all are forgotten: a search over masks makes new ones for ever. */
const maxEdits = 10_000

/** What was remembered of a chunk of rows. */
interface RememberedChunk {
  readonly rows: TokenRows
  readonly start: number
  readonly stateBytes: number
  readonly cache: PrefixCache<State, Edit>
}

/** A machine for `model`: its graphs, weights and states on a device. */
export function openMachine(model: Model, { device, kernel = 'fused' }: MachineOptions): Machine {
  const program = programOf(model, kernel)
  const unpadded = kernel === 'fused' && program.readsPadding ? programOf(model, 'unpadded') : program
  const width = model.sizes['D']!
  const vocabulary = model.sizes['classifier' in model.outer ? 'C' : 'V']!
  const runner = runnerOn(model, device)
  const lifetimes = lifetimesOn(device)
  const edits = internedEdits(model)
  const notes = new Map<string, { readonly key: readonly unknown[]; readonly made: Promise<unknown> }>()
  /** Of the rows walked last, the latest first. */
  let remembered: readonly RememberedChunk[] = []

  /** The cache of a chunk of rows. Those walked longest ago are forgotten where all together need too much memory. */
  function cacheOf(rows: TokenRows, { start, stateBytes }: SizedChunk): PrefixCache<State, Edit> {
    const known = remembered.find((entry) => entry.rows === rows && entry.start === start)
    const latest = known ?? { rows, start, stateBytes, cache: prefixCache<State, Edit>(lifetimes) }
    let bytes = 0
    remembered = [latest, ...remembered.filter((entry) => entry !== latest)].filter((entry) => {
      bytes += entry.stateBytes
      const stays = entry === latest || bytes <= rememberedBytes
      if (!stays) entry.cache.clear()
      return stays
    })
    return latest.cache
  }

  /** The stages for `rows`: those that need not look where a row ends, where all are full. */
  function stagesFor({ lengths }: TokenRows): readonly Stage[] {
    return (lengths === undefined ? unpadded : program).stages
  }

  async function walkChunk(
    { rows, plans, prefix, signal, oneBatch }: Walking,
    chunk: SizedChunk,
    observer: Observer,
  ): Promise<void> {
    const stages = stagesFor(rows)
    const known = (prefix === undefined ? plans : [...plans, prefix]).map((plan) => edits.of(plan, stages))
    const start = chunk.batches.map((batch) => dataOf(device, rows, batch, program.readsPadding))
    await walkDepthFirst<State, Edit>(
      {
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
      },
      plans.map((_, i) => i),
      start,
      { cache: oneBatch ? undefined : cacheOf(rows, chunk), prefix: prefix && plans.length },
    )
  }

  return {
    model,
    program,
    width,
    vocabulary,
    async walk(walking, observer) {
      const { rows, oneBatch, chunkAt } = walking
      checkRows(model, program.stages, rows)
      if (edits.size > maxEdits) {
        for (const { cache } of remembered) cache.clear()
        edits.clear()
      }
      const chunks = chunksOf(rows, program, { width, stateBytes: rememberedBytes, oneBatch })
      for (const chunk of chunks) {
        if (chunkAt !== undefined && chunk.start !== chunkAt) continue
        await observer.chunk?.(chunk)
        await walkChunk(walking, chunk, observer)
      }
    },
    head(kind) {
      if (program.heads !== undefined) return program.heads[kind]
      throw new UnsupportedModelError(
        `${model.id}: has no head that predicts anything, expected one for a loss; score it by the distance of its hidden states`,
      )
    },
    runHead(kind: HeadKind, positions, given) {
      const { graph, weights } = this.head(kind)
      return runner.head(graph, weights, positions, given)
    },
    read: (handle) => readFloats(device, handle),
    async outputMatrix(block) {
      const { matrix } = outputRoles[block.kind]
      const inputFirst = !findRole(block.weights, matrix)!.axes.trimStart().startsWith('D')
      return { values: await runner.weightValues(block, matrix), inputFirst }
    },
    remember<T>(name: string, key: readonly unknown[], make: () => Promise<T>): Promise<T> {
      const known = notes.get(name)
      if (known?.key.length === key.length && known.key.every((part, i) => part === key[i])) {
        return known.made as Promise<T>
      }
      const made = make()
      notes.set(name, { key, made })
      // what failed is made again
      made.catch(() => notes.delete(name))
      return made
    },
  }
}

/** Throws for rows that the model cannot read. */
function checkRows(model: Model, stages: readonly Stage[], rows: TokenRows): void {
  if (rows.rows === 0) throw new EngineError('no rows to evaluate; expected at least one')
  if (rows.decoder === undefined && stages.some(({ ids }) => ids === 'decoderIds')) {
    throw new EngineError(
      `${model.id}: the rows have no tokens for the decoder, expected source and target of each row`,
    )
  }
  for (const stack of Object.keys(model.architecture.stacks) as StackName[]) {
    const { positions } = model.architecture.embedding(model.config, stack)
    const { rowLength } = stack === 'decoder' ? (rows.decoder ?? rows) : rows
    if (positions === undefined || rowLength + positions.offset <= positions.count) continue
    const learned = positions.count - positions.offset
    throw new CalibrationError(
      `rows of ${rowLength} tokens, but the model has learned ${learned} positions; use shorter rows`,
    )
  }
}

/** Feeds graphs: finds what each input of a graph is, runs it, hands out its first output. */
function runnerOn(model: Model, device: Device) {
  const weights = weightsOf(model, device)
  const environment = environmentCache(device)

  /** The result of a graph on the tensors `given` under its own names for them. */
  async function run(
    graph: Graph,
    table: WeightTable,
    given: Tensors,
    shape: readonly [rows: number, tokens: number],
    of?: Edited,
    like?: Handle,
  ): Promise<Handle> {
    const feeds: Record<string, Handle> = {}
    for (const { value, source } of graph.inputs) {
      if (source.from === 'weight') feeds[value.name] = await weights.get(table, source.role, of)
      else if (source.from === 'constant')
        feeds[value.name] = weights.constant(source.axes, source.values, value.type, of)
      else if (source.from === 'environment') feeds[value.name] = environment(source.of, ...shape)
      else feeds[value.name] = given[value.name]!
    }
    const [output] = await device.run(graph, shape, feeds, like)
    return output!
  }

  /** A graph of `stage` on one micro-batch, whose states it reads under the stage's names for them. */
  function runOnBatch(
    graph: Graph,
    { reads, weights: table, ids }: Stage,
    tensors: Tensors,
    of: Edited | undefined,
    like: Handle | undefined,
  ) {
    const given: Record<string, Handle> = { ...tensors }
    for (const [name, read] of Object.entries(reads)) given[name] = tensors[read]!
    return run(graph, table, given, tensors[ids]!.dims as [number, number], of, like)
  }

  return {
    /** The state after `stage` as `edit` leaves it; nobody owns it yet. */
    async stage(stage: Stage, edit: Edit, state: State): Promise<State> {
      const { block, bareNorm, writes, reads } = stage
      const left = (block?.units ?? 0) - edit.removed.length
      const graph = edit.normOnly ? bareNorm! : edit.bias === undefined ? stage.graph(left) : stage.graph(left, true)
      const next: Tensors[] = []
      for (const tensors of state) {
        const output =
          graph === 'copy'
            ? tensors[reads['hidden'] ?? 'hidden']!
            : // a state is as large as the one of that name that it follows
              await runOnBatch(
                graph,
                stage,
                tensors,
                block && !edit.normOnly ? { block, edit } : undefined,
                tensors[writes],
              )
        next.push({ ...tensors, [writes]: output })
      }
      return next
    },

    /** What enters the output matrix of a whole block, (B,T,C). */
    async channels(stage: Stage, edit: Edit, tensors: Tensors): Promise<Float32Array> {
      const { block, channels } = stage
      if (block === undefined || channels === undefined || edit !== untouched) {
        throw new RangeError(`${stage.name}: has no channels to look at, expected a block that the plan leaves whole`)
      }
      return takeFloats(device, await runOnBatch(channels(), stage, tensors, { block, edit }, undefined))
    },

    async head(
      graph: Graph,
      table: WeightTable,
      positions: number,
      given: Readonly<Record<string, HostTensor>>,
    ): Promise<Float32Array> {
      const uploaded: Record<string, Handle> = {}
      for (const [name, { type, values, dims }] of Object.entries(given)) {
        uploaded[name] = device.upload(type, values, dims)
      }
      const output = await run(graph, table, uploaded, [positions, 1])
      for (const handle of Object.values(uploaded)) device.free(handle)
      return takeFloats(device, output)
    },

    weightValues: (block: Block, role: string) => weights.values(block.weights, role),
  }
}
