import { distanceRecipes, type OutputDistance } from './distanceRecipes.ts'

/** The words that the dense model finds most likely at each token, (N,W), and its log-probabilities of them. */
export interface TopWords {
  readonly words: number
  readonly ids: BigInt64Array<ArrayBuffer>
  readonly logProbabilities: Float32Array
}

/** What one word, or the rest, adds to the distance of q from p. */
type Term = (p: number, q: number) => number

const times = (a: number, b: number, c: number) => (a > 0 ? a * Math.log(b / Math.max(c, tiny)) : 0)
const tiny = 1e-30

const terms: Partial<Record<(typeof distanceRecipes)[OutputDistance]['graph'], Term>> = {
  kl: (p, q) => times(p, p, q),
  js: (p, q) => (times(p, p, (p + q) / 2) + times(q, q, (p + q) / 2)) / 2,
  reversedJs: (p, q) => (times(p + q, (p + q) / 2, p) + times(p + q, (p + q) / 2, q)) / 4,
}

/**
 * The distance of a row, all words but W of each token counted as one: never above that of all words. `dense` and `pruned` are
 * log-probabilities of the same words, (T,W).
 */
export function distanceOfWords(
  measure: OutputDistance,
  dense: Float32Array,
  pruned: Float32Array,
  words: number,
  vocabulary: number,
): number {
  const { graph, row } = distanceRecipes[measure]
  const term = terms[graph]
  if (term === undefined) throw new RangeError(`${measure} needs all logits, not those of the likeliest words`)
  const tokens = dense.length / words
  const distances = Float64Array.from({ length: tokens }, (_, t) => {
    let [restP, restQ, distance] = [1, 1, 0]
    for (let i = t * words; i < (t + 1) * words; i++) {
      const [p, q] = [Math.exp(dense[i]!), Math.exp(pruned[i]!)]
      restP -= p
      restQ -= q
      distance += term(p, q)
    }
    return distance + term(Math.max(0, restP), Math.max(0, restQ))
  })
  return row(distances, vocabulary)
}
