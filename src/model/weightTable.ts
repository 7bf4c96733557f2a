import type { WeightTable } from '../types.ts'

export interface ProjectionOptions {
  readonly bias?: boolean
  /** The matrix is stored (in, out), as GPT-2's Conv1D does. */
  readonly inputFirst?: boolean
}

/**
 * The weights of a projection: `projection('q', 'attn.q_proj', '(K G E)', 'D')` is `qProj: ['attn.q_proj.weight', '(K G E) D']`,
 * with a bias `qBias: ['attn.q_proj.bias', '(K G E)']` too. Fused roles are joined in the order of their pieces: `q|k|v`.
 */
export function projection(
  roles: string,
  name: string,
  output: string,
  input: string,
  { bias = false, inputFirst = false }: ProjectionOptions = {},
): WeightTable {
  const keyOf = (suffix: string) =>
    roles
      .split('|')
      .map((role) => `${role}${suffix}`)
      .join('|')
  return {
    [keyOf('Proj')]: [`${name}.weight`, inputFirst ? `${input} ${output}` : `${output} ${input}`],
    ...(bias && { [keyOf('Bias')]: [`${name}.bias`, output] as const }),
  }
}

/** Scale and bias of a layer norm over `axes`, as `role` and `roleBias`. */
export function layerNormWeights(role: string, name: string, axes = 'D'): WeightTable {
  return { [role]: [`${name}.weight`, axes], [`${role}Bias`]: [`${name}.bias`, axes] }
}
