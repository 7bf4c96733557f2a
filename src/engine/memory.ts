import { EngineError } from '../errors.ts'
import type { Graph } from '../graph/graph.ts'
import { type Program, programOf } from '../graph/program.ts'
import { elementCount, findRole, pieceAxes } from '../model/axes.ts'
import type { Model } from '../model/model.ts'
import { blockSizes, stackSizes } from '../model/plan.ts'
import type { StackName, WeightTable } from '../types.ts'

/** How the memory that an engine may use is shared between weights and states. Changes no value. */
export interface MemoryPlan {
  /**
   * `resident`: all weights in float32, walks depth first. `streamed`: the weights of a stage are read when it is their turn, widened
   * and let go, walks breadth first.
   */
  readonly weights: 'resident' | 'streamed'
  /** Bytes that states may take: those remembered depth first, those of all branches breadth first. */
  readonly stateBytes: number
  /** The same beside the weights of the head, where those are not resident. */
  readonly stateBytesAtHead: number
  /** Of all weights in float32. */
  readonly weightBytes: number
  readonly maxBytes: number
}

/** States are remembered up to this, however much memory there is. */
const mostStateBytes = 4 * 2 ** 30

/** Two micro-batches of states and a branch beside them must fit. */
const leastStates = 3

/** Tokens of a micro-batch. */
export const microBatchTokens = 1024

/**
 * Shares `maxBytes` between the weights and the states of `model`. Weights stay where they fit beside the states that one
 * micro-batch leaves behind each block. Throws `EngineError` where not even one stage at a time fits.
 */
export function planMemory(model: Model, maxBytes: number, program: Program = programOf(model)): MemoryPlan {
  const weightBytes = model.parameters * 4
  const batchBytes = microBatchTokens * model.sizes['D']! * 4
  const remembered = batchBytes * (program.stages.length + 1)
  if (weightBytes + remembered <= maxBytes) {
    const stateBytes = Math.min(mostStateBytes, maxBytes - weightBytes)
    return { weights: 'resident', stateBytes, stateBytesAtHead: stateBytes, weightBytes, maxBytes }
  }
  const { blocks, outer, head } = largestStages(model, program)
  // the next block is read while one computes; what comes before the blocks has one state beside it
  const stateBytes = maxBytes - 2 * blocks
  const stateBytesAtHead = maxBytes - head
  const least = leastStates * batchBytes
  if (Math.min(stateBytes, stateBytesAtHead, maxBytes - outer) >= least) {
    return { weights: 'streamed', stateBytes, stateBytesAtHead, weightBytes, maxBytes }
  }
  const needed = Math.max(2 * blocks, outer, head) + least
  throw new EngineError(
    `--max-memory ${sizeText(maxBytes)}: is too little for ${model.id}, whose largest parts and three states take ${sizeText(needed)}; allow at least that`,
  )
}

/** The plan in one line for people. */
export function describeMemory({ weights, weightBytes, stateBytes, maxBytes }: MemoryPlan): string {
  return weights === 'resident'
    ? `${sizeText(maxBytes)}: all weights stay in memory as float32 (${sizeText(weightBytes)}), states take up to ${sizeText(stateBytes)}`
    : `${sizeText(maxBytes)}: weights (${sizeText(weightBytes)} as float32) are read and widened block by block as often as they are needed, states take up to ${sizeText(stateBytes)}`
}

/** What this process may still take, less a margin for the runtime: of its control group where there is one. */
export function freeMemory(): number {
  const free = process.availableMemory()
  return Math.max(0, free - Math.max(512 * 2 ** 20, free / 10))
}

/** Bytes in float32 of the largest block, of the largest stage outside the blocks, and of the head. */
function largestStages(model: Model, program: Program) {
  let [blocks, outer] = [0, 0]
  for (const stage of program.stages) {
    const graph = stage.graph(stage.block?.units ?? 0)
    if (graph === 'copy') continue
    const stack = stage.name.split('.')[0] as StackName
    const sizes = stage.block === undefined ? stackSizes(model, stack) : blockSizes(model, stage.block)
    const bytes = weightBytesOf(graph, stage.weights, sizes)
    if (stage.block === undefined) outer = Math.max(outer, bytes)
    else blocks = Math.max(blocks, bytes)
  }
  const head = program.heads?.tokenLoss
  return { blocks, outer, head: head === undefined ? 0 : weightBytesOf(head.graph, head.weights, model.sizes) }
}

function weightBytesOf(graph: Graph, table: WeightTable, sizes: Model['sizes']): number {
  return rolesOf(graph).reduce((total, role) => {
    const place = findRole(table, role)
    if (place === undefined) return total
    const axes = place.piece === undefined ? place.axes : pieceAxes(place.axes, place.piece)
    return total + elementCount(axes, sizes) * 4
  }, 0)
}

/** The roles of the weights that a graph reads. */
export function rolesOf(graph: Graph): string[] {
  return graph.inputs.flatMap(({ source }) => (source.from === 'weight' ? [source.role] : []))
}

function sizeText(bytes: number): string {
  return bytes >= 1e9 ? `${(bytes / 1e9).toFixed(2)} GB` : `${Math.round(bytes / 1e6)} MB`
}
