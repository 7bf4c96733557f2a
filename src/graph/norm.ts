import type { NormForm } from '../model/forms.ts'
import type { GraphBuilder } from './graph.ts'
import type { Value } from './operations.ts'

/** norm(x) with the scale called `role`: x (…,D) → (…,D). */
export function norm(g: GraphBuilder, form: NormForm, x: Value, role: string): Value {
  return g.apply('rmsNorm', [x, g.weight(role, ['D'])], { epsilon: form.epsilon })
}
