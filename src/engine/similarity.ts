import type { Span, SpanMeasure, TokenRows } from '../types.ts'

/** The mean over the tokens of each row of what `measure` says of two hidden states (B,T,D), in float64. */
export function similaritiesOfRows(
  measure: SpanMeasure,
  { lengths, rowLength }: TokenRows,
  batch: { readonly first: number; readonly rows: number },
  width: number,
  before: Float32Array,
  after: Float32Array,
): Float64Array {
  return Float64Array.from({ length: batch.rows }, (_, row) => {
    const tokens = lengths?.[batch.first + row] ?? rowLength
    const first = measure === 'lastAngle' ? tokens - 1 : 0
    let total = 0
    for (let t = first; t < tokens; t++) {
      const cosine = cosineAt(before, after, (row * rowLength + t) * width, width)
      total += measure === 'cosine' ? cosine : Math.acos(Math.min(1, Math.max(-1, cosine))) / Math.PI
    }
    return total / (tokens - first)
  })
}

/** The cosine of two vectors of `width` numbers that begin at `start`; one of zeros is across to all others. */
function cosineAt(a: Float32Array, b: Float32Array, start: number, width: number): number {
  let [ab, aa, bb] = [0, 0, 0]
  for (let i = start; i < start + width; i++) {
    ab += a[i]! * b[i]!
    aa += a[i]! * a[i]!
    bb += b[i]! * b[i]!
  }
  if (aa === 0 || bb === 0) return aa === bb ? 1 : 0
  return ab / Math.sqrt(aa * bb)
}

/** Which spans begin before and end after each block. */
export function spanEnds(spans: readonly Span[]) {
  const at = (end: 0 | 1) => {
    const found = new Map<string, number[]>()
    for (const [i, span] of spans.entries()) found.set(span[end], [...(found.get(span[end]) ?? []), i])
    return found
  }
  return { begins: at(0), ends: at(1) }
}
