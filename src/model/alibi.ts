/**
 * The slopes of ALiBi for `heads` query heads (arXiv:2108.12409): the powers 1, 2, … of 2^(-8/n) for n heads, n a power of
 * two. Other numbers take those of the next smaller power of two, then the odd powers of the next larger one's base.
 */
export function alibiSlopes(heads: number): number[] {
  const smaller = 2 ** Math.floor(Math.log2(heads))
  const powers = (n: number, count: number, step: number) =>
    Array.from({ length: count }, (_, i) => 2 ** ((-8 / n) * (1 + i * step)))
  return [...powers(smaller, smaller, 1), ...powers(2 * smaller, heads - smaller, 2)]
}
