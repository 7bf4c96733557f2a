import type { NormForm } from '../model/forms.ts'
import type { GraphBuilder } from './graph.ts'
import type { Value } from './operations.ts'

/** norm(x) over the last axis, of size `dim`, with the scale called `role`: x (…,D) → (…,D). */
export function norm(g: GraphBuilder, form: NormForm, x: Value, role: string, dim = 'D'): Value {
  const stored = g.weight(role, [dim])
  if (form.type === 'layer') {
    return g.apply('layerNorm', [x, stored, g.weight(`${role}Bias`, [dim])], { epsilon: form.epsilon })
  }
  const scale = form.offset === undefined ? stored : g.apply('shift', [stored], { by: form.offset })
  return g.apply('rmsNorm', [x, scale], { epsilon: form.epsilon })
}
