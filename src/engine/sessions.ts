import * as ort from 'onnxruntime-node'
import { EngineError } from '../errors.ts'
import { queryPieces } from '../graph/attentionToOnnx.ts'
import type { Graph } from '../graph/graph.ts'
import { graphToOnnx } from '../graph/toOnnx.ts'

/** Runs graphs. Sessions are made on first use: one per graph, and one per length of piece where a graph walks its queries in pieces. */
export interface Sessions {
  /** `shape`: rows and tokens. */
  run(graph: Graph, shape: readonly [number, number], feeds: Readonly<Record<string, ort.Tensor>>): Promise<ort.Tensor>
  close(): Promise<void>
}

/** What onnxruntime 1.30 makes slower by doing it in one operator (measured on BART, 4 x 128 tokens: 9 % of the pass). */
const slowFusions = 'SkipLayerNormFusion;BiasSkipLayerNormFusion;BiasGeluFusion'

/** How the engine opens every session; `threads` undefined lets the runtime take the physical cores. */
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

/** Sessions on the CPU; `threads` undefined lets the runtime take the physical cores. */
export function cpuSessions(threads: number | undefined): Sessions {
  const sessions = new Map<Graph, Map<string, Promise<ort.InferenceSession>>>()
  const options = sessionOptions(threads)

  function sessionFor(graph: Graph, [rows, tokens]: readonly [number, number]): Promise<ort.InferenceSession> {
    const ofGraph = sessions.get(graph) ?? new Map<string, Promise<ort.InferenceSession>>()
    sessions.set(graph, ofGraph)
    const pieces = graph.nodes.some(({ op }) => op === 'groupQueryAttention') ? queryPieces(rows, tokens) : undefined
    const key = pieces === undefined ? '' : `${pieces.count} x ${pieces.size}`
    const session = ofGraph.get(key) ?? ort.InferenceSession.create(graphToOnnx(graph, pieces), options)
    ofGraph.set(key, session)
    return session
  }

  return {
    async run(graph, shape, feeds) {
      const output = graph.outputs[0]!.value.name
      try {
        const results = await (await sessionFor(graph, shape)).run(feeds, [output])
        return results[output]!
      } catch (cause) {
        throw new EngineError(`${graph.name}: the runtime failed: ${(cause as Error).message}`, { cause })
      }
    },
    async close() {
      const made = [...sessions.values()].flatMap((ofGraph) => [...ofGraph.values()])
      await Promise.all(made.map(async (session) => (await session).release()))
      sessions.clear()
    },
  }
}
