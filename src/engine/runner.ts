import { type Device, type Handle, takeFloats } from '../device/device.ts'
import type { Graph } from '../graph/graph.ts'
import type { Stage } from '../graph/program.ts'
import type { HostTensor, State, Tensors } from '../measures/machine.ts'
import type { Model } from '../model/model.ts'
import type { WeightTable } from '../types.ts'
import { type Edit, untouched } from './edit.ts'
import { environmentCache } from './environment.ts'
import type { MemoryPlan } from './memory.ts'
import { type Edited, type Weights, weightsOf } from './weights.ts'

/** Feeds graphs: finds what each input of a graph is, runs it, hands out its first output. */
export interface Runner {
  readonly weights: Weights
  /** The state after `stage` as `edit` leaves it; nobody owns it yet. */
  stage(stage: Stage, edit: Edit, state: State): Promise<State>
  /** What enters the output matrix of a whole block, (B,T,C). */
  channels(stage: Stage, edit: Edit, tensors: Tensors): Promise<Float32Array>
  /** The result of a head on `positions` positions. */
  head(
    graph: Graph,
    table: WeightTable,
    positions: number,
    given: Readonly<Record<string, HostTensor>>,
  ): Promise<Float32Array>
}

/** A runner of the graphs of `model` on `device`. */
export function runnerOn(model: Model, device: Device, residency: MemoryPlan['weights']): Runner {
  const weights = weightsOf(model, device, residency)
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
    const constants: Handle[] = []
    for (const { value, source } of graph.inputs) {
      if (source.from === 'weight') feeds[value.name] = await weights.get(table, source.role, of)
      else if (source.from === 'constant') {
        const constant = weights.constant(source.axes, source.values, value.type, of)
        feeds[value.name] = constant
        constants.push(constant)
      } else if (source.from === 'environment') feeds[value.name] = environment(source.of, ...shape)
      else feeds[value.name] = given[value.name]!
    }
    const [output] = await device.run(graph, shape, feeds, like)
    for (const constant of constants) device.free(constant)
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
    weights,
    async stage(stage, edit, state) {
      const { block, bareNorm, writes, reads } = stage
      const left = (block?.units ?? 0) - edit.removed.length
      const graph = edit.normOnly ? bareNorm! : edit.bias === undefined ? stage.graph(left) : stage.graph(left, true)
      const of = block && !edit.normOnly ? { block, edit } : undefined
      const next: Tensors[] = []
      for (const tensors of state) {
        const output =
          graph === 'copy'
            ? tensors[reads['hidden'] ?? 'hidden']!
            : // a state is as large as the one of that name that it follows
              await runOnBatch(graph, stage, tensors, of, tensors[writes])
        next.push({ ...tensors, [writes]: output })
      }
      return next
    },

    async channels(stage, edit, tensors) {
      const { block, channels } = stage
      if (block === undefined || channels === undefined || edit !== untouched) {
        throw new RangeError(`${stage.name}: has no channels to look at, expected a block that the plan leaves whole`)
      }
      return takeFloats(device, await runOnBatch(channels(), stage, tensors, { block, edit }, undefined))
    },

    async head(graph, table, positions, given) {
      const uploaded: Record<string, Handle> = {}
      for (const [name, { type, values, dims }] of Object.entries(given)) {
        uploaded[name] = device.upload(type, values, dims)
      }
      const output = await run(graph, table, uploaded, [positions, 1])
      for (const handle of Object.values(uploaded)) device.free(handle)
      return takeFloats(device, output)
    },
  }
}
