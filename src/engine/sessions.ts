import * as ort from 'onnxruntime-node'
import { EngineError } from '../errors.ts'
import type { Graph } from '../graph/graph.ts'
import { graphToOnnx } from '../graph/toOnnx.ts'

/** Runs a graph: one session per graph, made on first use. */
export interface Sessions {
  run(graph: Graph, feeds: Readonly<Record<string, ort.Tensor>>): Promise<ort.Tensor>
  close(): Promise<void>
}

/** Sessions on the CPU; `threads` undefined lets the runtime take the physical cores. */
export function cpuSessions(threads: number | undefined): Sessions {
  const sessions = new Map<Graph, Promise<ort.InferenceSession>>()
  return {
    async run(graph, feeds) {
      let session = sessions.get(graph)
      if (session === undefined) {
        session = ort.InferenceSession.create(graphToOnnx(graph), {
          ...(threads !== undefined && { intraOpNumThreads: threads }),
          interOpNumThreads: 1,
          executionMode: 'sequential',
          graphOptimizationLevel: 'all',
          logSeverityLevel: 3,
          // each session has its own threads: those of one that waits must not spin beside the one that runs (measured: 1.9 x)
          extra: { session: { intra_op: { allow_spinning: '0' } } },
        })
        sessions.set(graph, session)
      }
      const output = graph.outputs[0]!.value.name
      try {
        const results = await (await session).run(feeds, [output])
        return results[output]!
      } catch (cause) {
        throw new EngineError(`${graph.name}: the runtime failed: ${(cause as Error).message}`, { cause })
      }
    },
    async close() {
      await Promise.all([...sessions.values()].map(async (session) => (await session).release()))
      sessions.clear()
    },
  }
}
