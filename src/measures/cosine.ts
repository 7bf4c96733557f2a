/**
 * The cosine of two vectors of `width` numbers that begin at `start`, in float64. A vector of zeros has no direction: it is equal to
 * another such, and across to all others.
 */
export function cosineAt(a: Float32Array, b: Float32Array, start: number, width: number): number {
  let [ab, aa, bb] = [0, 0, 0]
  for (let i = start; i < start + width; i++) {
    ab += a[i]! * b[i]!
    aa += a[i]! * a[i]!
    bb += b[i]! * b[i]!
  }
  if (aa === 0 || bb === 0) return aa === bb ? 1 : 0
  return ab / Math.sqrt(aa * bb)
}
