import type { EmbeddingForm, PositionBiasForm } from '../model/mathematics.ts'
import { norm, project } from './composites.ts'
import { buildGraph, type Graph } from './graph.ts'

/** Tokens are all of the first type, or of those that `tokenTypeIds` says. */
export type TokenTypes = 'first' | 'given'

/** x = norm(W table[ids] · scale + positions + type): ids (B,T) → x (B,T,D), each part where the form has it. */
export function embeddingGraph(form: EmbeddingForm, types: TokenTypes = 'first'): Graph {
  const g = buildGraph('embedding')
  const width = form.isProjected ? 'M' : 'D'
  let x = g.apply('embedding', [g.weight('embedTokens', ['V', width]), g.data('ids', ['B', 'T'])], {})
  if (form.isProjected) x = project(g, x, { weight: 'embedProj', output: 'D', input: width })
  if (form.scale !== undefined) x = g.apply('scale', [x], { by: form.scale })
  if (form.positions !== undefined) {
    const { offset, uncounted } = form.positions
    const index =
      uncounted === undefined
        ? g.environment({ type: 'positionIndex', offset }, ['T']) // (T)
        : g.apply('countPositions', [g.data('ids', ['B', 'T'])], { offset, uncounted }) // (B,T)
    x = g.apply('add', [x, g.apply('embedding', [g.weight('embedPositions', ['P', 'D']), index], {})], {})
  }
  if (form.sinusoids !== undefined) {
    x = g.apply('add', [x, g.environment({ type: 'sinusoids', ...form.sinusoids }, ['T', 'D'])], {})
  }
  if (form.tokenTypes) {
    const table = g.weight('tokenTypes', ['A', 'D'])
    const added =
      types === 'first'
        ? g.apply('slice', [table], { axis: 0, start: 0, end: 1 }) // (1,D)
        : g.apply('embedding', [table, g.data('tokenTypeIds', ['B', 'T'])], {}) // (B,T,D)
    x = g.apply('add', [x, added], {})
  }
  if (form.norm !== undefined) x = norm(g, form.norm, x, 'embedNorm')
  return g.finish([x])
}

/**
 * T5's position bias, which every self-attention of a stack adds to its scores: bias[k, query, key] = table[range(key - query), k].
 * The table is stored in the first attention, but it is not part of it: it stays when that attention goes. () → (1,K,T,T)
 */
export function positionBiasGraph(form: PositionBiasForm): Graph {
  const g = buildGraph('positionBias')
  const ranges = g.environment({ type: 'distanceBuckets', ...form }, [1, 'T', 'T'])
  const bias = g.apply('embedding', [g.weight('positionBias', ['R', 'K']), ranges], {}) // (1,T,T,K)
  return g.finish([g.apply('transpose', [bias], { order: [0, 3, 1, 2] })])
}
