import type { Model } from '../model/model.ts'
import type { Block, WeightTable } from '../types.ts'
import { type AttentionKernel, attentionGraph } from './attention.ts'
import { embeddingGraph } from './embedding.ts'
import type { Graph } from './graph.ts'
import { logitsGraph, tokenLossGraph } from './head.ts'
import { mlpGraph } from './mlp.ts'

/** A model as the list of graphs that run one after the other; what a plan removes is not called. */
export interface Program {
  readonly stages: readonly Stage[]
  readonly heads: Readonly<Record<'tokenLoss' | 'logits', Head>>
}

export interface Stage {
  /** The block this stage computes; absent for what every plan keeps, such as the embedding. */
  readonly block?: Block
  /** The state the graph's only output replaces. */
  readonly writes: string
  readonly weights: WeightTable
  /** The graph for a block with `units` units left; stages of equal form share it. */
  graph(units: number): Graph
}

interface Head {
  readonly weights: WeightTable
  readonly graph: Graph
}

/** The program of `model`, whose graphs are shared between stages of equal form. */
export function programOf(model: Model, kernel: AttentionKernel = 'fused'): Program {
  const { architecture, config, outer } = model
  const headForm = architecture.head(config)
  const embedding = embeddingGraph()
  const share = graphCache()
  return {
    stages: [
      { writes: 'hidden', weights: outer, graph: () => embedding },
      ...model.blocks.map((block) => blockStage(model, block, kernel, share)),
    ],
    heads: {
      tokenLoss: { weights: outer, graph: tokenLossGraph(headForm) },
      logits: { weights: outer, graph: logitsGraph(headForm) },
    },
  }
}

function blockStage(model: Model, block: Block, kernel: AttentionKernel, share: GraphCache): Stage {
  const table = model.architecture.stacks[block.stack]?.blocks.find(({ kind }) => kind === block.kind)
  if (table === undefined) throw new RangeError(`${block.id} is not in the architecture's table`)
  const build = (units: number) => {
    if (table.kind === 'attention') {
      const form = table.form(model.config, block.layer)
      return share(['attention', form, units, kernel], () => attentionGraph(form, units, kernel))
    }
    const form = table.form(model.config, block.layer)
    return share(['mlp', form], () => mlpGraph(form))
  }
  return { block, writes: 'hidden', weights: block.weights, graph: build }
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
