/**
 * The nearest point to z with 0 ≤ s ≤ 1 and Σ c_i s_i ≤ K: s_i = clip(z_i - v c_i, 0, 1), v = 0 where that already fits, else the root
 * by bisection, to 1e-12 of K. With c = 1 it is the projection of arXiv:2406.10576.
 */
export function projectOntoBudget(z: ArrayLike<number>, costs: ArrayLike<number>, budget: number): Float64Array {
  const n = z.length
  const largest = Array.from(costs).reduce((most, cost) => Math.max(most, cost), 0) || 1
  const at = (v: number) =>
    Float64Array.from({ length: n }, (_, i) => Math.min(1, Math.max(0, z[i]! - (v * costs[i]!) / largest)))
  const spent = (s: Float64Array) => s.reduce((total, share, i) => total + share * costs[i]!, 0)
  const free = at(0)
  if (spent(free) <= budget) return free
  let [low, high] = [0, 1]
  while (spent(at(high)) > budget) high *= 2
  for (let i = 0; i < 200 && spent(at(low)) - spent(at(high)) > budget * 1e-12; i++) {
    const middle = (low + high) / 2
    if (spent(at(middle)) > budget) low = middle
    else high = middle
  }
  return at(high)
}
