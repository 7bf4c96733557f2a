import type { HeadForm } from '../model/forms.ts'
import { buildGraph, type Graph } from './graph.ts'
import { logitsOf } from './head.ts'
import type { OperationAttributes } from './operations.ts'

/**
 * How far the predictions from `hidden` are from those of `denseHidden`, both (N,D), at each token: (N). Both heads run here, so
 * that no logits of the dense model are kept.
 */
export function outputDistanceGraph(form: HeadForm, measure: OperationAttributes['outputDistance']['measure']): Graph {
  const g = buildGraph('outputDistance')
  const dense = logitsOf(g, form, 'denseHidden')
  const pruned = logitsOf(g, form, 'hidden')
  return g.finish([[g.apply('outputDistance', [dense, pruned], { measure }), ['N']]])
}
