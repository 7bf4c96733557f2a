import type { HeadForm } from '../model/forms.ts'
import { buildGraph, type Graph } from './graph.ts'
import { norm } from './norm.ts'

/** log p(target) = logSoftmax(W norm(x))[target]: x (N,D), targets (N) → (N). Negative nats per token. */
export function tokenLossGraph(form: HeadForm): Graph {
  const g = buildGraph('tokenLoss')
  const h = norm(g, form.norm, g.state('hidden', ['N', 'D']), 'finalNorm')
  const logits = g.apply('linear', [h, g.weight(form.weight, ['V', 'D'])], {}) // (N,V)
  const logProbabilities = g.apply('logSoftmax', [logits], {})
  return g.finish([[g.apply('pick', [logProbabilities, g.data('targets', ['N'])], {}), ['N']]])
}

/** logits = W norm(x): x (N,D) → (N,V). */
export function logitsGraph(form: HeadForm): Graph {
  const g = buildGraph('logits')
  const h = norm(g, form.norm, g.state('hidden', ['N', 'D']), 'finalNorm')
  return g.finish([[g.apply('linear', [h, g.weight(form.weight, ['V', 'D'])], {}), ['N', 'V']]])
}
