import * as ort from 'onnxruntime-node'
import { EngineError } from '../errors.ts'
import type { AttentionKernel } from '../graph/attention.ts'
import type { Graph } from '../graph/graph.ts'
import { programOf, type Stage } from '../graph/program.ts'
import type { Model } from '../model/model.ts'
import type { Engine, PruningPlan, TokenRows, WeightTable } from '../types.ts'
import { environmentCache } from './environment.ts'
import { cpuSessions } from './sessions.ts'
import { createTrunk, type Trunk, visitDepthFirst } from './visit.ts'
import { weightsOf } from './weights.ts'

export interface ForwardOptions {
  /** Threads inside one operation; undefined: the physical cores. */
  readonly threads?: number | undefined
  readonly kernel?: AttentionKernel | undefined
}

/** Tokens that go through an operation together. Bounds the activations, not the result. */
const microBatchTokens = 1024

/** Bytes of logits alive at once; the head is the widest operation by far. */
const logitBytes = 2 ** 26

/** Bytes of hidden states remembered between plans; calibration beyond that goes through in several chunks of rows. */
const trunkBytes = 4 * 2 ** 30

type State = readonly ort.Tensor[]

/** The forward passes of `model` in the calling thread, which they block; `engine.ts` is the same behind a worker thread. */
export function openForward(model: Model, options: ForwardOptions = {}): Engine {
  const program = programOf(model, options.kernel)
  const sessions = cpuSessions(options.threads)
  const weights = weightsOf(model)
  const environment = environmentCache()
  let trunk: { rows: TokenRows; start: number; trunk: Trunk<State> } | undefined

  async function run(graph: Graph, table: WeightTable, given: Readonly<Record<string, ort.Tensor>>, cut?: Cut) {
    const [rows, tokens] = (given['hidden'] ?? given['ids'])!.dims as [number, number]
    const feeds: Record<string, ort.Tensor> = {}
    for (const { value, source } of graph.inputs) {
      if (source.from === 'weight') feeds[value.name] = await weights.get(table, source.role, cut)
      else if (source.from === 'constant') feeds[value.name] = weights.constant(source.axes, source.values, cut)
      else if (source.from === 'environment') feeds[value.name] = environment(source.of, rows, tokens)
      else feeds[value.name] = given[value.name]!
    }
    return sessions.run(graph, feeds)
  }

  async function runStage(
    stage: Stage,
    plan: PruningPlan,
    state: State,
    batches: readonly ort.Tensor[],
  ): Promise<State> {
    const { block } = stage
    const removed = (block && plan.units[block.id]) ?? []
    const unit = model.architecture.stacks[block?.stack ?? 'decoder']?.blocks.find(
      ({ kind }) => kind === block?.kind,
    )?.unit
    const cut = block && unit ? { block, unit, removed } : undefined
    const graph = stage.graph((block?.units ?? 0) - removed.length)
    const next: ort.Tensor[] = []
    for (const [i, ids] of batches.entries()) {
      const hidden = state[i]
      next.push(await run(graph, stage.weights, hidden === undefined ? { ids } : { ids, hidden }, cut))
    }
    return next
  }

  /** Walks all plans over one chunk of rows; `arrive` gets the final hidden states of its micro-batches. */
  async function walk(
    rows: TokenRows,
    start: number,
    batches: readonly ort.Tensor[],
    plans: readonly PruningPlan[],
    signal: AbortSignal | undefined,
    arrive: (plans: readonly number[], state: State) => Promise<void>,
  ): Promise<void> {
    if (trunk?.rows !== rows || trunk.start !== start) trunk = { rows, start, trunk: createTrunk<State>() }
    const removed = plans.map((plan) => new Set(plan.blocks))
    const variants = plans.map((plan) => new Map(Object.entries(plan.units).map(([id, units]) => [id, `${units}`])))
    await visitDepthFirst<State>(
      {
        stages: program.stages.length,
        variant(plan, index) {
          const { block } = program.stages[index]!
          if (block === undefined) return ''
          const gone = removed[plan]!.has(block.id) || plans[plan]!.units[block.id]?.length === block.units
          return gone ? undefined : (variants[plan]!.get(block.id) ?? '')
        },
        step(index, variant, state) {
          signal?.throwIfAborted()
          const stage = program.stages[index]!
          const units = variant === '' ? [] : variant.split(',').map(Number)
          const plan = stage.block === undefined ? noUnits : { blocks: [], units: { [stage.block.id]: units } }
          return runStage(stage, plan, state, batches)
        },
        arrive,
        trunk: trunk.trunk,
      },
      plans.map((_, i) => i),
      [],
    )
  }

  async function lossesOfBatch(
    hidden: ort.Tensor,
    ids: ort.Tensor,
    ignored: number | undefined,
  ): Promise<Float64Array> {
    const [rows, tokens] = ids.dims as [number, number]
    const width = hidden.dims[2]!
    const predicted = tokens - 1
    // the last position of a row predicts nothing: leave it out before the widest product of the model
    const states = new Float32Array(rows * predicted * width)
    const targets = new BigInt64Array(rows * predicted)
    const [source, idData] = [hidden.data as Float32Array, ids.data as BigInt64Array]
    for (let row = 0; row < rows; row++) {
      const from = row * tokens * width
      states.set(source.subarray(from, from + predicted * width), row * predicted * width)
      targets.set(idData.subarray(row * tokens + 1, (row + 1) * tokens), row * predicted)
    }
    const { graph, weights: table } = program.heads.tokenLoss
    const chunk = Math.max(1, Math.min(rows * predicted, Math.floor(logitBytes / 4 / model.sizes['V']!)))
    const sums = new Float64Array(rows)
    for (let start = 0; start < rows * predicted; start += chunk) {
      const end = Math.min(start + chunk, rows * predicted)
      const logProbabilities = await run(graph, table, {
        hidden: new ort.Tensor('float32', states.subarray(start * width, end * width), [end - start, width]),
        targets: new ort.Tensor('int64', targets.subarray(start, end), [end - start]),
      })
      const values = logProbabilities.data as Float32Array
      for (let i = start; i < end; i++) {
        if (ignored === undefined || targets[i] !== BigInt(ignored))
          sums[Math.floor(i / predicted)]! -= values[i - start]!
      }
    }
    return sums
  }

  return {
    async tokenLosses(rows, plans, { ignored, onLosses, signal } = {}) {
      const losses = plans.map(() => new Float64Array(rows.rows))
      const chunks = chunksOf(rows, model.sizes['D']!, program.stages.length)
      for (const { start, batches } of chunks) {
        await walk(rows, start, batches, plans, signal, async (arrived, state) => {
          let row = start
          for (const [i, ids] of batches.entries()) {
            const sums = await lossesOfBatch(state[i]!, ids, ignored)
            for (const plan of arrived) losses[plan]!.set(sums, row)
            row += sums.length
          }
          if (row === rows.rows) for (const plan of arrived) onLosses?.(plan, losses[plan]!)
        })
      }
      return losses
    },

    async logits(rows, plan) {
      const [D, V] = [model.sizes['D']!, model.sizes['V']!]
      const all = new Float32Array(rows.rows * rows.rowLength * V)
      let written = 0
      for (const { start, batches } of chunksOf(rows, D, program.stages.length)) {
        await walk(rows, start, batches, [plan], undefined, async (_, state) => {
          for (const hidden of state) {
            const flat = new ort.Tensor('float32', hidden.data as Float32Array, [hidden.data.length / D, D])
            const { graph, weights: table } = program.heads.logits
            const logits = (await run(graph, table, { hidden: flat })).data as Float32Array
            all.set(logits, written)
            written += logits.length
          }
        })
      }
      return all
    },

    async firstNonFinite(rows) {
      const [first] = chunksOf({ ...rows, rows: 1 }, model.sizes['D']!, program.stages.length)
      let state: State = []
      for (const stage of program.stages) {
        state = await runStage(stage, noUnits, state, first!.batches)
        if (state.some((hidden) => !(hidden.data as Float32Array).every(Number.isFinite))) {
          return stage.block?.id ?? 'embedding'
        }
      }
      return undefined
    },

    close: () => sessions.close(),
  }
}

const noUnits: PruningPlan = { blocks: [], units: {} }

type Cut = { block: NonNullable<Stage['block']>; unit: string; removed: readonly number[] }

/** Cuts rows into chunks whose trunk fits the memory budget, and each chunk into micro-batches of ids (B,T). */
function chunksOf(rows: TokenRows, width: number, stages: number) {
  const { rowLength } = rows
  const trunkBytesPerRow = rowLength * width * 4 * (stages + 1)
  const chunkRows = Math.max(1, Math.floor(trunkBytes / trunkBytesPerRow))
  const batchRows = Math.max(1, Math.floor(microBatchTokens / rowLength))
  const chunks: { start: number; batches: ort.Tensor[] }[] = []
  for (let start = 0; start < rows.rows; start += chunkRows) {
    const end = Math.min(start + chunkRows, rows.rows)
    const batches: ort.Tensor[] = []
    for (let row = start; row < end; row += batchRows) {
      const count = Math.min(batchRows, end - row)
      const ids = rows.ids.subarray(row * rowLength, (row + count) * rowLength)
      batches.push(new ort.Tensor('int64', BigInt64Array.from(ids, BigInt), [count, rowLength]))
    }
    chunks.push({ start, batches })
  }
  if (chunks.length === 0) throw new EngineError('no rows to evaluate; expected at least one')
  return chunks
}
