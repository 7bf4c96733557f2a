/** How far a consumer's predictions are from ours, over all positions of a text. */
export interface Agreement {
  /** Share of positions where both think the same token most likely, 0..1. */
  readonly topOne: number
  /** Mean KL divergence of the consumer's distribution from ours, nats per position. */
  readonly meanKl: number
  readonly positions: number
}

/** What an agreement must reach to count as one. */
export interface AgreementLimit {
  readonly topOne: number
  readonly meanKl: number
}

/**
 * Compares two tables of logits or log probabilities (N,V): each row is brought to log probabilities in float64 first, so that
 * a constant added to a row makes no difference. Throws `RangeError` for tables of unequal size.
 */
export function agreementOf(ours: Float32Array, theirs: Float32Array, vocabulary: number): Agreement {
  if (ours.length !== theirs.length || ours.length % vocabulary !== 0 || ours.length === 0) {
    throw new RangeError(`${ours.length} and ${theirs.length} logits do not compare over a vocabulary of ${vocabulary}`)
  }
  const positions = ours.length / vocabulary
  let [same, divergence] = [0, 0]
  for (let row = 0; row < ours.length; row += vocabulary) {
    const p = ours.subarray(row, row + vocabulary)
    const q = theirs.subarray(row, row + vocabulary)
    if (largestAt(p) === largestAt(q)) same++
    divergence += klOf(p, q)
  }
  return { topOne: same / positions, meanKl: divergence / positions, positions }
}

/** Whether the agreement is within the limit; a NaN never is. */
export function isWithin(agreement: Agreement, limit: AgreementLimit): boolean {
  return agreement.topOne >= limit.topOne && agreement.meanKl <= limit.meanKl
}

/** Σ p (log p - log q) of two rows of logits. */
function klOf(p: Float32Array, q: Float32Array): number {
  const [zp, zq] = [logSumExp(p), logSumExp(q)]
  let sum = 0
  for (let i = 0; i < p.length; i++) {
    const logP = p[i]! - zp
    sum += Math.exp(logP) * (logP - (q[i]! - zq))
  }
  return sum
}

function logSumExp(row: Float32Array): number {
  let largest = Number.NEGATIVE_INFINITY
  for (const value of row) if (value > largest) largest = value
  let sum = 0
  for (const value of row) sum += Math.exp(value - largest)
  return largest + Math.log(sum)
}

function largestAt(row: Float32Array): number {
  let best = 0
  for (let i = 1; i < row.length; i++) if (row[i]! > row[best]!) best = i
  return best
}
