import type { Architecture, StackTable } from '../model/architecture.ts'
import type { AttentionForm, HeadForm, MlpForm, MultiHeadForm } from '../model/mathematics.ts'
import type { DescribedBlock, Model } from '../model/model.ts'
import { outputRoles } from '../model/outputBias.ts'
import type { StackName, WeightTable } from '../types.ts'
import { type AttentionKernel, attentionGraph, isCached } from './attention.ts'
import { normGraph } from './composites.ts'
import { embeddingGraph, positionBiasGraph } from './embedding.ts'
import type { BranchPart, Gate, Graph } from './graph.ts'
import {
  logitsGraph,
  outputDistanceGraph,
  releasedTokenLossGraph,
  tokenLossGraph,
  topWordsGraph,
  wordLogProbabilitiesGraph,
} from './head.ts'
import { mlpGraph } from './mlp.ts'
import { multiHeadAttentionGraph } from './multiHeadAttention.ts'
import type { OperationAttributes } from './operations.ts'

/** A model as the list of stages that run one after the other; what a plan removes is not called. */
export interface Program {
  readonly stages: readonly Stage[]
  /** Whether attention looks both ways, so that it must be told where a row is padding. */
  readonly readsPadding: boolean
  /** Undefined for a model without a head. */
  readonly heads: Readonly<Record<HeadKind, Head>> | undefined
}

/**
 * One step of the forward pass, from named tensors to one named tensor. The tensors are the data (`ids`, and `decoderIds` of
 * an encoder-decoder) and the states that earlier stages wrote: `hidden`, `memory` (the output of an encoder that a decoder
 * reads), `layerInput`, the `positionBias` of a stack.
 */
export interface Stage {
  /** The block's id, or what every plan keeps: `decoder.embedding`. */
  readonly name: string
  /** The block this stage computes; absent for what every plan keeps. */
  readonly block?: DescribedBlock
  /** Where the number of rows and tokens comes from: the ids of the stage's stack. */
  readonly ids: 'ids' | 'decoderIds'
  /** Which tensor feeds the graph's input of another name: an encoder's `hidden` is the state `memory`. */
  readonly reads: Readonly<Record<string, string>>
  /** The state the graph's only output replaces. */
  readonly writes: string
  readonly weights: WeightTable
  /**
   * The graph for a block with `units` units left, with a bias of its output where `biased`; stages of equal form share it.
   * `copy`: the state `hidden`, unchanged.
   */
  graph(units: number, biased?: boolean): Graph | 'copy'
  /** The same graph with gates, which only attention from primitives has; absent for what is no block. */
  gated?(gate: Gate, units: number, biased?: boolean): Graph
  /** What enters the output matrix of the whole block; absent for what is no block. */
  readonly channels?: () => Graph
  /** What takes the place of a removed block: x ← norm(x) where the norm behind it is kept. Absent: nothing does. */
  readonly bareNorm?: Graph
}

/** What a head gives: losses, logits, the likeliest words and probabilities of words, or distances from the dense model's predictions. */
export type HeadKind =
  | ('tokenLoss' | 'releasedTokenLoss' | 'logits')
  | ('topWords' | 'wordLogProbabilities')
  | DistanceMeasure

type DistanceMeasure = OperationAttributes['outputDistance']['measure']

export interface Head {
  readonly weights: WeightTable
  readonly graph: Graph
  /** Only the first position of a row predicts. */
  readonly readsFirst: boolean
}

/** The program of `model`, whose graphs are shared between stages of equal form. */
export function programOf(model: Model, kernel: AttentionKernel = 'fused'): Program {
  const { architecture, config, outer } = model
  const share = graphCache()
  const headForm = architecture.head(config, outer)
  const stacks = Object.entries(architecture.stacks) as [StackName, StackTable][]
  return {
    readsPadding: architecture.family !== 'decoder',
    stages: stacks.flatMap(([stack, table]) => stackStages(model, stack, table, kernel, share)),
    heads: headForm && headsOf(headForm, outer, model.sizes[headForm.weight === 'classifier' ? 'C' : 'V']!),
  }
}

/** `vocabulary`: words, or classes, that the head tells apart. */
function headsOf(form: HeadForm, weights: WeightTable, vocabulary: number): Record<HeadKind, Head> {
  const head = (graph: Graph): Head => ({ weights, graph, readsFirst: form.readsFirst === true })
  return {
    tokenLoss: head(tokenLossGraph(form, vocabulary)),
    releasedTokenLoss: head(releasedTokenLossGraph(form)),
    logits: head(logitsGraph(form)),
    topWords: head(topWordsGraph(form)),
    wordLogProbabilities: head(wordLogProbabilitiesGraph(form, vocabulary)),
    js: head(outputDistanceGraph(form, 'js')),
    reversedJs: head(outputDistanceGraph(form, 'reversedJs')),
    kl: head(outputDistanceGraph(form, 'kl')),
    oneMinusCosine: head(outputDistanceGraph(form, 'oneMinusCosine')),
    squaredDifference: head(outputDistanceGraph(form, 'squaredDifference')),
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
  const biasName = `${stack}.positionBias`
  const embedding = architecture.embedding(config, stack)
  // scoring has rows of one text; those who load an export may have pairs
  const types = isCached(kernel) && (model.sizes['A'] ?? 1) > 1 ? 'given' : 'first'
  const stages = [outerStage('embedding', ['embedding', embedding], () => embeddingGraph(embedding, types))]
  const bias = table.positionBias?.(config)
  if (bias !== undefined) {
    const stage = outerStage('positionBias', ['positionBias', bias], () => positionBiasGraph(bias))
    stages.push({ ...stage, writes: biasName })
  }
  const reads = bias === undefined ? stream.reads : { ...stream.reads, positionBias: biasName }
  let layer = -1
  for (const block of blocksInOrder(model, stack)) {
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
    stages.push({ ...stream, reads, ...blockStage(model, block, kernel, share) })
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

/** The blocks of a stack and the norms that removed ones left, in forward order. */
function blocksInOrder(model: Model, stack: StackName): DescribedBlock[] {
  const kinds = model.architecture.stacks[stack]?.blocks.map(({ kind }) => kind) ?? []
  const place = ({ layer, kind }: DescribedBlock) => layer * kinds.length + kinds.indexOf(kind)
  return [...model.blocks, ...model.bareNorms]
    .filter((block) => block.stack === stack)
    .sort((a, b) => place(a) - place(b))
}

function hasParallelBlocks({ architecture, config }: Model, stack: StackName, layer: number): boolean {
  return (architecture.stacks[stack]?.blocks ?? []).some(
    (table) => table.kind === 'mlp' && table.form(config, layer).parallel === true,
  )
}

function blockStage(
  model: Model,
  block: DescribedBlock,
  kernel: AttentionKernel,
  share: GraphCache,
): Pick<Stage, 'name' | 'block' | 'weights' | 'graph' | 'gated' | 'channels' | 'bareNorm'> {
  const { table } = block
  const form = table.form(model.config, block.layer)
  const outputNorm = 'outputNorm' in form ? form.outputNorm : undefined
  const bareNorm = outputNorm && share(['outputNorm', outputNorm], () => normGraph(outputNorm, 'outputNorm'))
  const named = { name: block.id, weights: block.weights }
  if (block.units === 0 && bareNorm !== undefined) return { ...named, graph: () => bareNorm }
  const isBiased = block.weights[outputRoles[block.kind].bias] !== undefined
  const gated = (gate: Gate | undefined, units: number, biased = isBiased) => {
    const own = biased ? withBias(form) : form
    return share([table.kind, own, table.kind === 'mlp' ? undefined : units, kernel, gate ?? 'ungated'], () =>
      blockGraph(own, units, kernel, 'whole', gate),
    )
  }
  const graph = (units: number, biased?: boolean) => gated(undefined, units, biased)
  const channels = () =>
    share([table.kind, form, block.units, kernel, 'channels'], () => blockGraph(form, block.units, kernel, 'channels'))
  return { ...named, block, graph, gated, channels, ...(bareNorm && { bareNorm }) }
}

type BlockForm = AttentionForm | MultiHeadForm | MlpForm

/** The form of a block whose output matrix has a bias, whatever the family says of it. */
function withBias(form: BlockForm): BlockForm {
  if ('gated' in form || 'sees' in form) return form.biases ? form : { ...form, outputBias: true }
  return { ...form, biases: { ...form.biases, o: true } }
}

function blockGraph(form: BlockForm, units: number, kernel: AttentionKernel, part: BranchPart, gate?: Gate): Graph {
  if ('gated' in form) return mlpGraph(form, part, gate)
  if ('sees' in form) return multiHeadAttentionGraph(form, units, kernel, part, gate)
  return attentionGraph(form, units, kernel, part, gate)
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
