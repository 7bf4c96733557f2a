import type { HeadForm } from '../model/forms.ts'
import { buildGraph, type Graph, type GraphBuilder } from './graph.ts'
import { norm } from './norm.ts'
import type { Value } from './operations.ts'
import { softcap } from './softcap.ts'

/** log p(target) = logSoftmax(logits(x))[target]: x (N,D), targets (N) → (N). Negative nats per token. */
export function tokenLossGraph(form: HeadForm): Graph {
  const g = buildGraph('tokenLoss')
  const logProbabilities = g.apply('logSoftmax', [logitsOf(g, form)], {})
  return g.finish([[g.apply('pick', [logProbabilities, g.data('targets', ['N'])], {}), ['N']]])
}

/** The logits themselves: x (N,D) → (N,V). */
export function logitsGraph(form: HeadForm): Graph {
  const g = buildGraph('logits')
  return g.finish([[logitsOf(g, form), ['N', 'V']]])
}

/** logits = cap(W norm(x) + bias): x (N,D) → (N,V). */
function logitsOf(g: GraphBuilder, form: HeadForm): Value {
  const h = norm(g, form.norm, g.state('hidden', ['N', 'D']), 'finalNorm')
  const w = g.weight(form.weight, ['V', 'D'])
  let logits = g.apply('linear', form.bias ? [h, w, g.weight('lmHeadBias', ['V'])] : [h, w], {})
  if (form.unitRows) logits = g.apply('div', [logits, g.apply('rowLength', [w], {})], {})
  return form.softcap === undefined ? logits : softcap(g, logits, form.softcap)
}
