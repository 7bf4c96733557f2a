import type { PositionBiasForm } from '../model/forms.ts'
import { buildGraph, type Graph } from './graph.ts'

/**
 * T5's position bias, which every self-attention of a stack adds to its scores: bias[k, query, key] = table[range(key - query), k].
 * The table is stored in the first attention, but it is not part of it: it stays when that attention goes. () → (1,K,T,T)
 */
export function positionBiasGraph(form: PositionBiasForm): Graph {
  const g = buildGraph('positionBias')
  const ranges = g.environment({ type: 'distanceBuckets', ...form }, [1, 'T', 'T'])
  const bias = g.apply('embedding', [g.weight('positionBias', ['R', 'K']), ranges], {}) // (1,T,T,K)
  return g.finish([[g.apply('transpose', [bias], { order: [0, 3, 1, 2] }), [1, 'K', 'T', 'T']]])
}
