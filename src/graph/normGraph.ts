import type { NormForm } from '../model/forms.ts'
import { buildGraph, type Graph } from './graph.ts'
import { norm } from './norm.ts'

/** The norm of a stream by itself: x (B,T,D) → (B,T,D). Ends an encoder, and stands where a post-norm branch was removed. */
export function normGraph(form: NormForm, role: string): Graph {
  const g = buildGraph('norm')
  return g.finish([[norm(g, form, g.state('hidden', ['B', 'T', 'D']), role), ['B', 'T', 'D']]])
}
