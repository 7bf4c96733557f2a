/** Operations that graphs of gradients need besides those of the forward pass. Of these no gradient is taken. */
export interface BackwardAttributes {
  /** Over `axes`, counted from the first: they become 1, or go. */
  sum: { readonly axes: readonly number[]; readonly keepDims: boolean }
  /** x (…,D) → (…,1) */
  mean: Record<never, never>
  /** 1 / √x */
  reciprocalRoot: Record<never, never>
  exp: Record<never, never>
  /** The error function. */
  erf: Record<never, never>
  sigmoid: Record<never, never>
  /** 1 where x > 0, 0 elsewhere. */
  step: Record<never, never>
  /** x in the shape of `like`, which has as many elements: x, like */
  reshapeLike: Record<never, never>
  /** Zeros shaped as `like` with x from `start` on along `axis`: x, like. What `slice` undoes. */
  padLike: { readonly axis: number; readonly start: number }
  /** Zeros shaped as `like` with x at the places `index` (N), all different, along `axis`: x, index, like. What `gather` undoes. */
  ungather: { readonly axis: number }
  /** x (N) or (N,W), index like x, like (N,V) → (N,V): x added at [n, index], zeros elsewhere. What `pick` undoes. */
  unpick: Record<never, never>
  /** Σ a ⊗ b over all positions: a (…,O), b (…,I) → (O,I) */
  outerSum: Record<never, never>
}
