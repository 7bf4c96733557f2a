import type { Architecture, StackTable } from '../model/architecture.ts'
import type { Model } from '../model/model.ts'
import type { Block, StackName, WeightTable } from '../types.ts'
import { type AttentionKernel, attentionGraph } from './attention.ts'
import { embeddingGraph } from './embedding.ts'
import type { Graph } from './graph.ts'
import { logitsGraph, tokenLossGraph } from './head.ts'
import { mlpGraph } from './mlp.ts'
import { normGraph } from './normGraph.ts'

/** A model as the list of stages that run one after the other; what a plan removes is not called. */
export interface Program {
  readonly stages: readonly Stage[]
  /** Undefined for a model without a head. */
  readonly heads: Readonly<Record<'tokenLoss' | 'logits', Head>> | undefined
}

/**
 * One step of the forward pass, from named tensors to one named tensor. The tensors are the data (`ids`, and `decoderIds` of
 * an encoder-decoder) and the states that earlier stages wrote: `hidden`, `memory` (the output of an encoder that a decoder
 * reads), `layerInput`.
 */
export interface Stage {
  /** The block's id, or what every plan keeps: `decoder.embedding`. */
  readonly name: string
  /** The block this stage computes; absent for what every plan keeps. */
  readonly block?: Block
  /** Where the number of rows and tokens comes from: the ids of the stage's stack. */
  readonly ids: 'ids' | 'decoderIds'
  /** Which tensor feeds the graph's input of another name: an encoder's `hidden` is the state `memory`. */
  readonly reads: Readonly<Record<string, string>>
  /** The state the graph's only output replaces. */
  readonly writes: string
  readonly weights: WeightTable
  /** The graph for a block with `units` units left; stages of equal form share it. `copy`: the state `hidden`, unchanged. */
  graph(units: number): Graph | 'copy'
}

interface Head {
  readonly weights: WeightTable
  readonly graph: Graph
}

/** The program of `model`, whose graphs are shared between stages of equal form. */
export function programOf(model: Model, kernel: AttentionKernel = 'fused'): Program {
  const { architecture, config, outer } = model
  const share = graphCache()
  const headForm = architecture.head(config, outer)
  const stacks = Object.entries(architecture.stacks) as [StackName, StackTable][]
  return {
    stages: stacks.flatMap(([stack, table]) => stackStages(model, stack, table, kernel, share)),
    heads: headForm && {
      tokenLoss: { weights: outer, graph: tokenLossGraph(headForm) },
      logits: { weights: outer, graph: logitsGraph(headForm) },
    },
  }
}

function stackStages(
  model: Model,
  stack: StackName,
  table: StackTable,
  kernel: AttentionKernel,
  share: GraphCache,
): Stage[] {
  const { architecture, config } = model
  const stream = streamOf(architecture, stack)
  const weights = weightsOfStack(model.outer, stack)
  const outerStage = (part: string, key: readonly unknown[], build: () => Graph): Stage => ({
    ...stream,
    name: `${stack}.${part}`,
    weights,
    graph: () => share(key, build),
  })
  const embedding = architecture.embedding(config, stack)
  const stages = [outerStage('embedding', ['embedding', embedding], () => embeddingGraph(embedding))]
  let layer = -1
  for (const block of model.blocks.filter((candidate) => candidate.stack === stack)) {
    if (block.layer !== layer && hasParallelBlocks(model, stack, block.layer)) {
      stages.push({
        ...stream,
        name: `${stack}.${block.layer}`,
        writes: 'layerInput',
        weights: {},
        graph: () => 'copy',
      })
    }
    layer = block.layer
    stages.push({ ...stream, ...blockStage(model, block, kernel, share) })
  }
  const norm = table.finalNorm?.(config)
  if (norm !== undefined) stages.push(outerStage('finalNorm', ['norm', norm], () => normGraph(norm, 'finalNorm')))
  return stages
}

/** An encoder before a decoder lives in `memory`, everything else in `hidden`. */
function streamOf({ family }: Architecture, stack: StackName): Pick<Stage, 'ids' | 'reads' | 'writes'> {
  if (family !== 'encoderDecoder') return { ids: 'ids', reads: {}, writes: 'hidden' }
  if (stack === 'encoder') return { ids: 'ids', reads: { hidden: 'memory' }, writes: 'memory' }
  return { ids: 'decoderIds', reads: { ids: 'decoderIds' }, writes: 'hidden' }
}

/** The weights outside the blocks as `stack` sees them: `encoder.embedPositions` is its `embedPositions`. */
function weightsOfStack(outer: WeightTable, stack: StackName): WeightTable {
  const own = Object.entries(outer).filter(([role]) => role.startsWith(`${stack}.`))
  return { ...outer, ...Object.fromEntries(own.map(([role, place]) => [role.slice(stack.length + 1), place])) }
}

function hasParallelBlocks({ architecture, config }: Model, stack: StackName, layer: number): boolean {
  return (architecture.stacks[stack]?.blocks ?? []).some(
    (table) => table.kind === 'mlp' && table.form(config, layer).parallel === true,
  )
}

function blockStage(
  model: Model,
  block: Block,
  kernel: AttentionKernel,
  share: GraphCache,
): Pick<Stage, 'name' | 'block' | 'weights' | 'graph'> {
  const table = model.architecture.stacks[block.stack]?.blocks.find(({ kind }) => kind === block.kind)
  if (table === undefined) throw new RangeError(`${block.id} is not in the architecture's table`)
  const graph = (units: number) => {
    if (table.kind === 'attention') {
      const form = table.form(model.config, block.layer)
      return share(['attention', form, units, kernel], () => attentionGraph(form, units, kernel))
    }
    const form = table.form(model.config, block.layer)
    return share(['mlp', form], () => mlpGraph(form))
  }
  return { name: block.id, block, weights: block.weights, graph }
}

type GraphCache = (key: readonly unknown[], build: () => Graph) => Graph

function graphCache(): GraphCache {
  const graphs = new Map<string, Graph>()
  return (key, build) => {
    const text = JSON.stringify(key)
    const graph = graphs.get(text) ?? build()
    graphs.set(text, graph)
    return graph
  }
}
