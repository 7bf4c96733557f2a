import * as ort from 'onnxruntime-node'
import { EngineError } from '../errors.ts'
import { queryPieces } from '../graph/attentionToOnnx.ts'
import type { Graph } from '../graph/graph.ts'
import { graphToOnnx } from '../graph/toOnnx.ts'
import type { Device, Handle } from './device.ts'
import { floatPool } from './floatPool.ts'

/** What onnxruntime 1.30 makes slower by doing it in one operator (measured on BART, 4 x 128 tokens: 9 % of the pass). */
const slowFusions = 'SkipLayerNormFusion;BiasSkipLayerNormFusion;BiasGeluFusion'

/** How every session on the CPU is opened; `threads` undefined lets the runtime take the physical cores. */
export function sessionOptions(threads: number | undefined): ort.InferenceSession.SessionOptions {
  return {
    ...(threads !== undefined && { intraOpNumThreads: threads }),
    interOpNumThreads: 1,
    executionMode: 'sequential',
    graphOptimizationLevel: 'all',
    logSeverityLevel: 3,
    // each session has its own threads: they spin between the operations of a run (2 % faster than to sleep), but not beside that of
    // another session (1.9 x slower)
    extra: {
      session: { intra_op: { allow_spinning: '1' }, force_spinning_stop: '1' },
      optimization: { disable_specified_optimizers: slowFusions },
    },
  }
}

export interface CpuOptions {
  /** Threads inside one operation; undefined: the physical cores. */
  readonly threads?: number | undefined
  /** Fill what is freed with NaN, so that whoever reads on is found out. For tests. */
  readonly poisonFreed?: boolean | undefined
}

/**
 * onnxruntime on the CPU. A run blocks the calling thread. Sessions are made on first use: one for each graph, and one for each
 * length of piece where a graph walks its queries in pieces. A handle is the runtime's tensor, over the caller's own numbers or, of a
 * run that was told what its output is like, over numbers from a pool: states come and go by the hundred, and all are of one size.
 */
export function cpuDevice({ threads, poisonFreed = false }: CpuOptions = {}): Device {
  const pool = floatPool()
  /** Tensors whose numbers come from the pool. */
  const pooled = new WeakSet<Handle>()
  const sessions = new Map<Graph, Map<string, Promise<ort.InferenceSession>>>()
  const options = sessionOptions(threads)

  function sessionFor(graph: Graph, [rows, tokens]: readonly [number, number]): Promise<ort.InferenceSession> {
    const ofGraph = sessions.get(graph) ?? new Map<string, Promise<ort.InferenceSession>>()
    sessions.set(graph, ofGraph)
    const pieces = graph.nodes.some(({ op }) => op === 'groupQueryAttention') ? queryPieces(rows, tokens) : undefined
    const key = pieces === undefined ? '' : `${pieces.count} x ${pieces.size}`
    const session = ofGraph.get(key) ?? ort.InferenceSession.create(graphToOnnx(graph, { pieces }), options)
    ofGraph.set(key, session)
    return session
  }

  return {
    name: 'cpu',
    kernel: 'fused',
    upload: (type, values, dims) => new ort.Tensor(type, values as Float32Array, dims) as Handle,
    async run(graph, shape, feeds, like) {
      const names = graph.outputs.map(({ value }) => value.name)
      try {
        const session = await sessionFor(graph, shape)
        if (like === undefined) {
          const results = await session.run(feeds as Record<string, ort.Tensor>, names)
          return names.map((name) => results[name] as Handle)
        }
        const length = like.dims.reduce((product, size) => product * size, 1)
        const output = new ort.Tensor('float32', pool.take(length), like.dims)
        await session.run(feeds as Record<string, ort.Tensor>, { [names[0]!]: output })
        pooled.add(output as Handle)
        return [output as Handle]
      } catch (cause) {
        throw new EngineError(`${graph.name}: the runtime failed: ${(cause as Error).message}`, { cause })
      }
    },
    read: async (handle) => (handle as ort.Tensor).data as Float32Array,
    async take(handle) {
      pooled.delete(handle)
      return (handle as ort.Tensor).data as Float32Array
    },
    // what is not from the pool V8's garbage collector frees; to dispose of it by hand gains nothing measurable
    free(handle) {
      if (!pooled.delete(handle)) return
      const values = (handle as ort.Tensor).data as Float32Array
      if (poisonFreed) values.fill(Number.NaN)
      pool.give(values)
    },
    trim: () => pool.clear(),
    async close() {
      const made = [...sessions.values()].flatMap((ofGraph) => [...ofGraph.values()])
      await Promise.all(made.map(async (session) => (await session).release()))
      sessions.clear()
    },
  }
}
