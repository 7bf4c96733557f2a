import { buildGraph, type Graph } from './graph.ts'

/** x = table[ids]: ids (B,T) → x (B,T,D). */
export function embeddingGraph(): Graph {
  const g = buildGraph('embedding')
  const x = g.apply('embedding', [g.weight('embedTokens', ['V', 'D']), g.data('ids', ['B', 'T'])], {})
  return g.finish([[x, ['B', 'T', 'D']]])
}
