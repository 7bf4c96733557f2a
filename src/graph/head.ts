import type { HeadForm } from '../model/mathematics.ts'
import { norm, project, softcap } from './composites.ts'
import { buildGraph, type Graph, type GraphBuilder } from './graph.ts'
import type { OperationAttributes, Value } from './operations.ts'

/** log p(target) of a vocabulary of V words: x (N,D), targets (N) → (N). Negative nats per token. */
export function tokenLossGraph(form: HeadForm, vocabulary: number): Graph {
  const g = buildGraph('tokenLoss')
  return g.finish([g.apply('logProbability', [logitsOf(g, form), g.data('targets', ['N'])], { vocabulary })])
}

/**
 * The same number as logit[target] - log Σ exp, the sum in plain float32: what PyTorch computes for the permuted logits of BlockPruner's
 * code, 1e-4 nats nearer to 0 than float64 where the vocabulary has 49,152 tokens.
 */
export function releasedTokenLossGraph(form: HeadForm): Graph {
  const g = buildGraph('releasedTokenLoss')
  const logits = logitsOf(g, form)
  const total = g.apply('scale', [g.apply('logSumExp', [logits], {})], { by: -1 })
  const picked = g.apply('pick', [logits, g.data('targets', ['N'])], {})
  return g.finish([g.apply('add', [picked, total], {})])
}

/** The logits themselves: x (N,D) → (N,V). */
export function logitsGraph(form: HeadForm): Graph {
  const g = buildGraph('logits')
  return g.finish([logitsOf(g, form)])
}

/** Which W words are the most likely: x (N,D), count (1) → (N,W). */
export function topWordsGraph(form: HeadForm): Graph {
  const g = buildGraph('topWords')
  return g.finish([g.apply('largest', [logitsOf(g, form), g.data('count', [1])], {})])
}

/** log p of the words asked for at each position: x (N,D), words (N,W) → (N,W). */
export function wordLogProbabilitiesGraph(form: HeadForm, vocabulary: number): Graph {
  const g = buildGraph('wordLogProbabilities')
  return g.finish([g.apply('logProbability', [logitsOf(g, form), g.data('words', ['N', 'W'])], { vocabulary })])
}

/**
 * How far the predictions from `hidden` are from those of `denseHidden`, both (N,D), at each token: (N). Both heads run here, so
 * that no logits of the dense model are kept.
 */
export function outputDistanceGraph(form: HeadForm, measure: OperationAttributes['outputDistance']['measure']): Graph {
  const g = buildGraph('outputDistance')
  const dense = logitsOf(g, form, 'denseHidden')
  const pruned = logitsOf(g, form, 'hidden')
  return g.finish([g.apply('outputDistance', [dense, pruned], { measure })])
}

/** logits = cap(scale · W h + bias), h = norm(x) or its transform: x (N,D) → (N,V). */
function logitsOf(g: GraphBuilder, form: HeadForm, state = 'hidden'): Value {
  const x = g.state(state, ['N', 'D'])
  let h = form.norm ? norm(g, form.norm, x, 'finalNorm') : x
  if (form.transform !== undefined) {
    const { activation, norm: transformNorm } = form.transform
    const dense = project(g, h, { weight: 'headProj', bias: 'headBias', output: 'D', input: 'D' })
    const activated = g.apply(activation, [dense], {})
    h = transformNorm ? norm(g, transformNorm, activated, 'headNorm') : activated
  }
  const width = form.isProjected ? 'M' : 'D'
  if (form.isProjected) h = project(g, h, { weight: 'unembedProj', output: width, input: 'D' })
  if (form.scale !== undefined) h = g.apply('scale', [h], { by: form.scale })
  const w = g.weight(form.weight, ['V', width])
  const biasRole = form.weight === 'classifier' ? 'classifierBias' : 'lmHeadBias'
  const bias = form.bias ? [g.weight(biasRole, form.bias === 'row' ? [1, 'V'] : ['V'])] : []
  let logits = g.apply('linear', [h, w, ...bias], {})
  if (form.unitRows) logits = g.apply('div', [logits, g.apply('rowLength', [w], {})], {})
  return form.softcap === undefined ? logits : softcap(g, logits, form.softcap)
}
