import type { MlpForm } from '../model/forms.ts'
import { buildGraph, type Graph } from './graph.ts'
import { norm } from './norm.ts'

/** y = x + down(silu(gate(h)) · up(h)), h = norm(x): x (B,T,D) → y (B,T,D), through F channels. */
export function mlpGraph(form: MlpForm): Graph {
  const g = buildGraph('mlp')
  const x = g.state('hidden', ['B', 'T', 'D'])
  const h = norm(g, form.norm, x, 'norm')
  const bias = (role: string, dim: string) => (form.biases ? [g.weight(role, [dim])] : [])
  const gate = g.apply('linear', [h, g.weight('gateProj', ['F', 'D']), ...bias('gateBias', 'F')], {}) // (B,T,F)
  const up = g.apply('linear', [h, g.weight('upProj', ['F', 'D']), ...bias('upBias', 'F')], {}) // (B,T,F)
  const gated = g.apply('mul', [g.apply(form.activation, [gate], {}), up], {})
  const y = g.apply('linear', [gated, g.weight('downProj', ['D', 'F']), ...bias('downBias', 'D')], {})
  return g.finish([[g.apply('add', [x, y], {}), ['B', 'T', 'D']]])
}
