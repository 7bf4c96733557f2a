import * as ort from 'onnxruntime-node'
import { CalibrationError, EngineError, UnsupportedModelError } from '../errors.ts'
import type { AttentionKernel } from '../graph/attention.ts'
import type { Graph } from '../graph/graph.ts'
import { type HeadKind, programOf, type Stage } from '../graph/program.ts'
import { findRole } from '../model/axes.ts'
import type { Model } from '../model/model.ts'
import { biasDigest, decodeBias, outputBiasesOf, outputRoles } from '../model/outputBias.ts'
import { emptyPlan, unitOf } from '../model/plan.ts'
import type {
  Engine,
  OutputDistance,
  PruningPlan,
  StackName,
  StopSignal,
  TokenLossOptions,
  TokenRows,
  WeightTable,
} from '../types.ts'
import { type Batch, type Chunk, chunksOf, type Tensors, trunkBytes } from './batches.ts'
import { addActivations, type ChannelSums, statisticsOf } from './channelStatistics.ts'
import { environmentCache } from './environment.ts'
import { distancesOfRows } from './hiddenDistance.ts'
import { distanceRecipes } from './outputDistance.ts'
import { predictionsOf, statesAt } from './predictions.ts'
import { cpuSessions } from './sessions.ts'
import { similaritiesOfRows, spanEnds } from './similarity.ts'
import { distanceOfWords, type TopWords } from './topWords.ts'
import { createTrunk, type Trunk, visitDepthFirst } from './visit.ts'
import { type Cut, weightsOf } from './weights.ts'

export interface ForwardOptions {
  /** Threads inside one operation; undefined: the physical cores. */
  readonly threads?: number | undefined
  readonly kernel?: Exclude<AttentionKernel, 'cached' | 'cachedPrimitives'> | undefined
}

/** Bytes of one tensor of logits: the head is the widest operation by far, and a soft cap or a bias makes more of them. */
const logitBytes = 2 ** 25

/** The tensors of each micro-batch of a chunk. */
type State = readonly Tensors[]

/** What a plan adds to the output of a branch, (D), under the role that the branch's graph gives it. */
interface Bias {
  readonly role: string
  readonly values: Float32Array<ArrayBuffer>
}

interface RememberedRows {
  readonly rows: TokenRows
  readonly start: number
  readonly stateBytes: number
  readonly trunk: Trunk<State>
}

/** The forward passes of `model` in the calling thread, which they block; `engine.ts` is the same behind a worker thread. */
export function openForward(model: Model, options: ForwardOptions = {}): Engine {
  const { kernel = 'fused' } = options
  const program = programOf(model, kernel)
  const unpadded = kernel === 'fused' && program.readsPadding ? programOf(model, 'unpadded') : program
  const sessions = cpuSessions(options.threads)
  const weights = weightsOf(model)
  const environment = environmentCache()
  const width = model.sizes['D']!
  /** Words, or classes, that the head tells apart. */
  const vocabulary = model.sizes['classifier' in model.outer ? 'C' : 'V']!
  /** Of the rows walked last, the latest first. */
  let trunks: readonly RememberedRows[] = []
  let topReference: { rows: TokenRows; start: number; words: number; batches: readonly TopWords[] } | undefined
  let reference: { rows: TokenRows; start: number; hidden: readonly Float32Array[] } | undefined

  /** Runs a graph on the tensors `given` under its own names for them. */
  async function run(
    graph: Graph,
    table: WeightTable,
    given: Tensors,
    shape: readonly [number, number],
    cut?: Cut,
    bias?: Bias,
  ) {
    const feeds: Record<string, ort.Tensor> = {}
    for (const { value, source } of graph.inputs) {
      if (source.from === 'weight' && source.role === bias?.role) feeds[value.name] = await biasOf(table, bias)
      else if (source.from === 'weight') feeds[value.name] = await weights.get(table, source.role, cut)
      else if (source.from === 'constant')
        feeds[value.name] = weights.constant(source.axes, source.values, value.type, cut)
      else if (source.from === 'environment') feeds[value.name] = environment(source.of, ...shape)
      else feeds[value.name] = given[value.name]!
    }
    return sessions.run(graph, shape, feeds)
  }

  /** The bias of a plan, added to that of the branch where it has one. */
  async function biasOf(table: WeightTable, { role, values }: Bias): Promise<ort.Tensor> {
    const own = findRole(table, role) && ((await weights.get(table, role)).data as Float32Array)
    return new ort.Tensor('float32', own === undefined ? values : values.map((value, i) => value + own[i]!), [width])
  }

  /** A graph of `stage` on one micro-batch, whose states it reads under the stage's names for them. */
  function runBranch(graph: Graph, { reads, weights: table, ids }: Stage, tensors: Tensors, cut?: Cut, bias?: Bias) {
    const given = { ...tensors }
    for (const [name, read] of Object.entries(reads)) given[name] = tensors[read]!
    return run(graph, table, given, tensors[ids]!.dims as [number, number], cut, bias)
  }

  /**
   * The state after `stage`, whose block has lost the units `removed` and got a bias of its output, or lost its whole branch
   * but not its norm.
   */
  async function runStage(
    stage: Stage,
    removed: readonly number[] | 'branch',
    state: State,
    biasText?: string,
  ): Promise<State> {
    const { block, bareNorm, writes } = stage
    const cut = block && removed !== 'branch' ? { block, unit: unitOf(model, block), removed } : undefined
    const bias = block && biasText ? { role: outputRoles[block.kind].bias, values: decodeBias(biasText) } : undefined
    const left = (block?.units ?? 0) - removed.length
    const graph = removed === 'branch' ? bareNorm! : bias ? stage.graph(left, true) : stage.graph(left)
    const next: Tensors[] = []
    for (const tensors of state) {
      const output =
        graph === 'copy'
          ? tensors[stage.reads['hidden'] ?? 'hidden']!
          : await runBranch(graph, stage, tensors, cut, bias)
      next.push({ ...tensors, [writes]: output })
    }
    return next
  }

  /** What `plan` leaves of the block of `stage`: its units, its norm alone, or nothing. */
  function leftOf(plan: PruningPlan, removed: ReadonlySet<string>, { block, bareNorm }: Stage) {
    if (block === undefined) return 'units'
    if (!removed.has(block.id) && plan.units[block.id]?.length !== block.units) return 'units'
    return bareNorm === undefined || plan.outputNorms === 'drop' ? 'nothing' : 'norm'
  }

  /** The stages for `rows`: those that need not look where a row ends, where all are full. */
  function stagesFor({ lengths }: TokenRows): readonly Stage[] {
    return (lengths === undefined ? unpadded : program).stages
  }

  /** Walks all plans over one chunk of rows; `arrive` gets the final states of its micro-batches. */
  async function walk(
    rows: TokenRows,
    chunk: Chunk,
    plans: readonly PruningPlan[],
    { signal, trunk: along }: Pick<TokenLossOptions, 'signal' | 'trunk'>,
    arrive: (plans: readonly number[], state: State) => Promise<void>,
  ): Promise<void> {
    const { trunk } = remembered(rows, chunk)
    const stages = stagesFor(rows)
    const known = along === undefined ? plans : [...plans, along]
    const removed = known.map((plan) => new Set(plan.blocks))
    const variants = known.map((plan) => new Map(Object.entries(plan.units).map(([id, units]) => [id, `${units}`])))
    const biases = new Map<string, string>()
    for (const [i, plan] of known.entries()) {
      for (const [id, text] of outputBiasesOf(plan)) {
        const digest = biasDigest({ ...emptyPlan, outputBiases: { [id]: text } })!
        biases.set(digest, text)
        variants[i]!.set(id, `${variants[i]!.get(id) ?? ''}#${digest}`)
      }
    }
    await visitDepthFirst<State>(
      {
        stages: stages.length,
        variant(plan, index) {
          const stage = stages[index]!
          const left = leftOf(known[plan]!, removed[plan]!, stage)
          if (left === 'nothing') return undefined
          if (left === 'norm') return 'branch'
          return (stage.block && variants[plan]!.get(stage.block.id)) ?? ''
        },
        step(index, variant, state) {
          signal?.throwIfAborted()
          if (variant === 'branch') return runStage(stages[index]!, variant, state)
          const [listed = '', digest = ''] = variant.split('#')
          const units = listed === '' ? [] : listed.split(',').map(Number)
          return runStage(stages[index]!, units, state, biases.get(digest))
        },
        arrive,
        trunk,
        along: along && plans.length,
      },
      plans.map((_, i) => i),
      chunk.batches.map(({ data }) => data),
    )
  }

  /** The trunk of a chunk of rows. Those walked longest ago are forgotten where all together need too much memory. */
  function remembered(rows: TokenRows, { start, stateBytes }: Chunk): RememberedRows {
    const known = trunks.find((entry) => entry.rows === rows && entry.start === start)
    const latest = known ?? { rows, start, stateBytes, trunk: createTrunk<State>() }
    let bytes = 0
    trunks = [latest, ...trunks.filter((entry) => entry !== latest)].filter((entry) => {
      bytes += entry.stateBytes
      return entry === latest || bytes <= trunkBytes
    })
    return latest
  }

  function headOf(kind: HeadKind) {
    if (program.heads !== undefined) return program.heads[kind]
    throw new UnsupportedModelError(
      `${model.id}: has no head that predicts anything, expected one for a loss; score it by the distance of its hidden states`,
    )
  }

  /** Nats of each row of the batch. */
  async function lossesOfBatch(
    rows: TokenRows,
    batch: Batch,
    hidden: ort.Tensor,
    { ignored, arithmetic }: TokenLossOptions,
  ) {
    const predicting = rows.decoder ?? rows
    if (predicting.targets === undefined && model.architecture.family !== 'decoder') {
      throw new EngineError(
        `${model.id}: the rows say nothing to predict, expected targets: this model predicts no next token`,
      )
    }
    const { positions, targets } = predictionsOf(predicting, batch.first, batch.rows)
    // only what predicts something goes through the widest product of the model
    const states = statesAt(hidden.data as Float32Array, width, positions)
    const { graph, weights: table } = headOf(arithmetic === 'released' ? 'releasedTokenLoss' : 'tokenLoss')
    const chunk = Math.max(1, Math.min(positions.length, Math.floor(logitBytes / 4 / vocabulary)))
    const sums = new Float64Array(batch.rows)
    for (let start = 0; start < positions.length; start += chunk) {
      const end = Math.min(start + chunk, positions.length)
      const given = {
        hidden: new ort.Tensor('float32', states.subarray(start * width, end * width), [end - start, width]),
        targets: new ort.Tensor('int64', targets.subarray(start, end), [end - start]),
      }
      const values = (await run(graph, table, given, [end - start, 1])).data as Float32Array
      for (let i = start; i < end; i++) {
        if (ignored !== undefined && targets[i] === BigInt(ignored)) continue
        sums[Math.floor(positions[i]! / predicting.rowLength)]! -= values[i - start]!
      }
    }
    return sums
  }

  /** Distances of the predictions of each row of the batch; `dense` and `hidden` are its final states (B,T,D). */
  async function outputDistancesOfBatch(
    rows: TokenRows,
    batch: Batch,
    measure: OutputDistance,
    dense: Float32Array,
    hidden: Float32Array,
  ) {
    const { graph: kind, row: valueOfRow } = distanceRecipes[measure]
    const { graph, weights: table, readsFirst } = headOf(kind)
    const { lengths, rowLength } = rows.decoder ?? rows
    // both sets of logits and what is computed from them are float64
    const chunk = Math.max(1, Math.floor(logitBytes / 4 / 4 / vocabulary))
    const values = new Float64Array(batch.rows)
    for (let row = 0; row < batch.rows; row++) {
      const tokens = readsFirst ? 1 : (lengths?.[batch.first + row] ?? rowLength)
      const distances = new Float64Array(tokens)
      for (let start = 0; start < tokens; start += chunk) {
        const end = Math.min(start + chunk, tokens)
        const part = (states: Float32Array) => {
          const values = states.subarray((row * rowLength + start) * width, (row * rowLength + end) * width)
          return new ort.Tensor('float32', values, [end - start, width])
        }
        const given = { denseHidden: part(dense), hidden: part(hidden) }
        distances.set((await run(graph, table, given, [end - start, 1])).data as Float32Array, start)
      }
      values[row] = valueOfRow(distances, vocabulary)
    }
    return values
  }

  /** The likeliest words of the dense model at every position, padding included, one entry a micro-batch. */
  async function denseWords(rows: TokenRows, chunk: Chunk, topK: number, signal: StopSignal | undefined) {
    const words = Math.min(topK, vocabulary)
    if (topReference?.rows !== rows || topReference.start !== chunk.start || topReference.words !== words) {
      await walk(rows, chunk, [emptyPlan], { signal }, async (_, state) => {
        const batches: TopWords[] = []
        for (const { hidden } of state) {
          const states = hidden!.data as Float32Array
          const ids = new BigInt64Array((states.length / width) * words)
          const { graph, weights: table } = headOf('topWords')
          const count = new ort.Tensor('int64', BigInt64Array.of(BigInt(words)), [1])
          for (const [start, end] of partsOf(states.length / width)) {
            const part = new ort.Tensor('float32', states.subarray(start * width, end * width), [end - start, width])
            const found = (await run(graph, table, { hidden: part, count }, [end - start, 1])).data as Float32Array
            for (const [i, id] of found.entries()) ids[start * words + i] = BigInt(id)
          }
          batches.push({ words, ids, logProbabilities: await logProbabilitiesOf(states, words, ids) })
        }
        topReference = { rows, start: chunk.start, words, batches }
      })
    }
    return topReference!.batches
  }

  /** log p of W words at each position: states (N,D), ids (N,W) → (N,W). */
  async function logProbabilitiesOf(states: Float32Array, words: number, ids: BigInt64Array<ArrayBuffer>) {
    const { graph, weights: table } = headOf('wordLogProbabilities')
    const values = new Float32Array(ids.length)
    for (const [start, end] of partsOf(states.length / width)) {
      const given = {
        hidden: new ort.Tensor('float32', states.subarray(start * width, end * width), [end - start, width]),
        words: new ort.Tensor('int64', ids.subarray(start * words, end * words), [end - start, words]),
      }
      values.set((await run(graph, table, given, [end - start, 1])).data as Float32Array, start * words)
    }
    return values
  }

  /** Positions whose logits, and what is computed from them in float32, are alive together. */
  function partsOf(positions: number): [start: number, end: number][] {
    const size = Math.max(1, Math.floor(logitBytes / 4 / 2 / vocabulary))
    return Array.from({ length: Math.ceil(positions / size) }, (_, i) => [
      i * size,
      Math.min(positions, (i + 1) * size),
    ])
  }

  /** Distances of each row of the batch by the likeliest words of the dense model; `hidden` are the final states (B,T,D). */
  async function wordDistancesOfBatch(
    rows: TokenRows,
    batch: Batch,
    measure: OutputDistance,
    { words, ids, logProbabilities }: TopWords,
    hidden: Float32Array,
  ) {
    const { readsFirst } = headOf('wordLogProbabilities')
    const { lengths, rowLength } = rows.decoder ?? rows
    const found = await logProbabilitiesOf(hidden, words, ids)
    return Float64Array.from({ length: batch.rows }, (_, row) => {
      const tokens = readsFirst ? 1 : (lengths?.[batch.first + row] ?? rowLength)
      const ofRow = (values: Float32Array) =>
        values.subarray(row * rowLength * words, (row * rowLength + tokens) * words)
      return distanceOfWords(measure, ofRow(logProbabilities), ofRow(found), words, vocabulary)
    })
  }

  /** The head at the last position of each row, or the first where that predicts; nothing for a model without one. */
  async function predictOnce(hidden: ort.Tensor): Promise<void> {
    if (program.heads === undefined) return
    const { graph, weights: table, readsFirst } = program.heads.logits
    const [rows, tokens] = hidden.dims as [number, number]
    const positions = Int32Array.from({ length: rows }, (_, row) => row * tokens + (readsFirst ? 0 : tokens - 1))
    const states = statesAt(hidden.data as Float32Array, width, positions)
    await run(graph, table, { hidden: new ort.Tensor('float32', states, [rows, width]) }, [rows, 1])
  }

  /** Final hidden states of the dense model, one array a micro-batch. */
  async function denseHidden(rows: TokenRows, chunk: Chunk, signal: StopSignal | undefined) {
    if (reference?.rows !== rows || reference.start !== chunk.start) {
      await walk(rows, chunk, [emptyPlan], { signal }, async (_, state) => {
        const hidden = state.map((tensors) => tensors['hidden']!.data as Float32Array)
        reference = { rows, start: chunk.start, hidden }
      })
    }
    return reference!.hidden
  }

  function chunks(rows: TokenRows): Chunk[] {
    if (rows.rows === 0) throw new EngineError('no rows to evaluate; expected at least one')
    if (rows.decoder === undefined && program.stages.some(({ ids }) => ids === 'decoderIds')) {
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
    return chunksOf(rows, program, width)
  }

  return {
    async tokenLosses(rows, plans, options = {}) {
      const { onLosses } = options
      const losses = plans.map(() => new Float64Array(rows.rows))
      for (const chunk of chunks(rows)) {
        await walk(rows, chunk, plans, options, async (arrived, state) => {
          let end = chunk.start
          for (const [i, batch] of chunk.batches.entries()) {
            const sums = await lossesOfBatch(rows, batch, state[i]!['hidden']!, options)
            for (const plan of arrived) losses[plan]!.set(sums, batch.first)
            end = batch.first + batch.rows
          }
          if (end === rows.rows) for (const plan of arrived) onLosses?.(plan, losses[plan]!)
        })
      }
      return losses
    },

    async hiddenDistances(rows, plans, { measure, onLosses, signal }) {
      const distances = plans.map(() => new Float64Array(rows.rows))
      for (const chunk of chunks(rows)) {
        const dense = await denseHidden(rows, chunk, signal)
        await walk(rows, chunk, plans, { signal }, async (arrived, state) => {
          let end = chunk.start
          for (const [i, batch] of chunk.batches.entries()) {
            const hidden = state[i]!['hidden']!.data as Float32Array
            const values = distancesOfRows(measure, rows.decoder ?? rows, batch, width, dense[i]!, hidden)
            for (const plan of arrived) distances[plan]!.set(values, batch.first)
            end = batch.first + batch.rows
          }
          if (end === rows.rows) for (const plan of arrived) onLosses?.(plan, distances[plan]!)
        })
      }
      return distances
    },

    async outputDistances(rows, plans, options) {
      const { measure, topK, onLosses, signal } = options
      const distances = plans.map(() => new Float64Array(rows.rows))
      for (const chunk of chunks(rows)) {
        const dense = topK === undefined ? await denseHidden(rows, chunk, signal) : undefined
        const top = topK === undefined ? undefined : await denseWords(rows, chunk, topK, signal)
        await walk(rows, chunk, plans, options, async (arrived, state) => {
          let end = chunk.start
          for (const [i, batch] of chunk.batches.entries()) {
            const hidden = state[i]!['hidden']!.data as Float32Array
            const values =
              top === undefined
                ? await outputDistancesOfBatch(rows, batch, measure, dense![i]!, hidden)
                : await wordDistancesOfBatch(rows, batch, measure, top[i]!, hidden)
            for (const plan of arrived) distances[plan]!.set(values, batch.first)
            end = batch.first + batch.rows
          }
          if (end === rows.rows) for (const plan of arrived) onLosses?.(plan, distances[plan]!)
        })
      }
      return distances
    },

    async similarities(rows, spans, { measure, signal }) {
      const { begins, ends } = spanEnds(spans)
      const values = spans.map(() => new Float64Array(rows.rows))
      for (const batch of chunks(rows).flatMap(({ batches }) => batches)) {
        // one micro-batch at a time, and of its states those before spans that have not ended
        const before = new Map<number, Float32Array>()
        let state: State = [batch.data]
        for (const stage of stagesFor(rows)) {
          signal?.throwIfAborted()
          const name = stage.block?.id ?? ''
          for (const span of begins.get(name) ?? []) {
            before.set(span, state[0]![stage.writes]!.data as Float32Array)
          }
          state = await runStage(stage, [], state)
          for (const span of ends.get(name) ?? []) {
            const after = state[0]![stage.writes]!.data as Float32Array
            const read = stage.ids === 'decoderIds' ? (rows.decoder ?? rows) : rows
            values[span]!.set(similaritiesOfRows(measure, read, batch, width, before.get(span)!, after), batch.first)
            before.delete(span)
          }
        }
      }
      return values
    },

    async channelStatistics(rows, blocks, { signal } = {}) {
      const sums = new Map<string, ChannelSums>()
      for (const batch of chunks(rows).flatMap(({ batches }) => batches)) {
        let state: State = [batch.data]
        for (const stage of stagesFor(rows)) {
          signal?.throwIfAborted()
          if (stage.block !== undefined && stage.channels !== undefined && blocks.includes(stage.block.id)) {
            const cut = { block: stage.block, unit: unitOf(model, stage.block), removed: [] }
            const values = (await runBranch(stage.channels(), stage, state[0]!, cut)).data as Float32Array
            const read = stage.ids === 'decoderIds' ? (rows.decoder ?? rows) : rows
            const channels = values.length / (batch.rows * read.rowLength)
            const known = sums.get(stage.name) ?? {
              tokens: 0,
              sum: new Float64Array(channels),
              squares: new Float64Array(channels),
            }
            addActivations(known, read, batch, values)
            sums.set(stage.name, known)
          }
          state = await runStage(stage, [], state)
        }
      }
      const found = new Map(model.blocks.map((block) => [block.id, block]))
      return Promise.all(
        blocks.map(async (id) => {
          const block = found.get(id)
          const known = sums.get(id)
          if (block === undefined || known === undefined) throw new RangeError(`${id} is no block of ${model.id}`)
          const role = block.kind === 'mlp' ? 'downProj' : 'oProj'
          const cut = { block, unit: unitOf(model, block), removed: [] }
          const matrix = (await weights.get(block.weights, role, cut)).data as Float32Array
          const inputFirst = !findRole(block.weights, role)!.axes.trimStart().startsWith('D')
          return statisticsOf(known, matrix, inputFirst)
        }),
      )
    },

    async passSeconds(rows, plans, { repeats, signal }) {
      const start: State = chunks(rows).flatMap(({ batches }) => batches.map(({ data }) => data))
      const places = new Map(model.blocks.map(({ id }, i) => [id, i + 1]))
      const passes = plans.map((): Float64Array[] => [])
      for (let repeat = -1; repeat < repeats; repeat++) {
        for (const [i, plan] of plans.entries()) {
          signal?.throwIfAborted()
          const seconds = new Float64Array(1 + model.blocks.length)
          const removed = new Set<string>(plan.blocks)
          let state = start
          let before = performance.now()
          const spent = (place: number) => {
            const now = performance.now()
            seconds[place]! += (now - before) / 1000
            before = now
          }
          for (const stage of stagesFor(rows)) {
            const { block } = stage
            const left = leftOf(plan, removed, stage)
            if (left === 'nothing') continue
            const units = (block && plan.units[block.id]) ?? []
            state = await runStage(
              stage,
              left === 'norm' ? 'branch' : units,
              state,
              block && plan.outputBiases?.[block.id],
            )
            spent((block && places.get(block.id)) ?? 0)
          }
          for (const tensors of state) await predictOnce(tensors['hidden']!)
          spent(0)
          if (repeat >= 0) passes[i]!.push(seconds)
        }
      }
      return passes.map((taken) => Float64Array.from(taken[0]!, (_, place) => median(taken.map((s) => s[place]!))))
    },

    async hiddenStates(rows, plan) {
      const parts: Float32Array[] = []
      for (const chunk of chunks(rows)) {
        await walk(rows, chunk, [plan], {}, async (_, state) => {
          for (const { hidden } of state) parts.push(hidden!.data as Float32Array)
        })
      }
      return concatenated(parts)
    },

    async logits(rows, plan) {
      const parts: Float32Array[] = []
      const { graph, weights: table, readsFirst } = headOf('logits')
      for (const chunk of chunks(rows)) {
        await walk(rows, chunk, [plan], {}, async (_, state) => {
          for (const { hidden } of state) {
            const [batchRows, tokens] = hidden!.dims as [number, number]
            const positions = Int32Array.from({ length: batchRows }, (_, row) => row * tokens)
            const values = hidden!.data as Float32Array
            const read = readsFirst ? statesAt(values, width, positions) : values
            const count = read.length / width
            const flat = new ort.Tensor('float32', read, [count, width])
            parts.push((await run(graph, table, { hidden: flat }, [count, 1])).data as Float32Array)
          }
        })
      }
      return concatenated(parts)
    },

    async firstNonFinite(rows) {
      let state: State = chunks({ ...rows, rows: 1 })[0]!.batches.map(({ data }) => data)
      for (const stage of stagesFor(rows)) {
        state = await runStage(stage, [], state)
        const written = state.map((tensors) => tensors[stage.writes]!.data as Float32Array)
        if (!written.every((values) => values.every(Number.isFinite))) return stage.name
      }
      return undefined
    },

    close: () => sessions.close(),
  }
}

function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b)
  const middle = sorted.length >> 1
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2
}

function concatenated(parts: readonly Float32Array[]): Float32Array {
  const whole = new Float32Array(parts.reduce((total, { length }) => total + length, 0))
  let written = 0
  for (const part of parts) {
    whole.set(part, written)
    written += part.length
  }
  return whole
}
