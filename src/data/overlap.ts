import type { TokenRows } from '../types.ts'

/** A passage of at least `windowLength` equal tokens, found in two sets of rows. */
export interface SharedPassage {
  /** Where the first one lies in the rows searched. */
  readonly row: number
  readonly token: number
  /** Fingerprints found, out of all: 1 of many is a quotation, many are the same text. */
  readonly found: number
  readonly of: number
}

/** Long enough that equal windows mean copied text, short enough to fit into short rows. */
export const windowLength = 32

/** At most this many fingerprints, 16 kB in a plan; longer texts are sampled evenly. */
const maxFingerprints = 1024

/** Windows with fewer different tokens (rulers, runs of blanks) say nothing about where a text comes from. */
const minDifferentTokens = 8

/**
 * Sorted hashes of windows of the text, `windowLength` tokens each and not overlapping, by which `sharedPassage` knows the
 * text again at any offset and row length. Windows that come twice in the text itself (prompt templates, headings) are left
 * out. Up to 32,768 tokens every passage of 63 tokens holds a whole window, so it is found unless all its windows were left
 * out; longer texts are thinned, and the passage must be longer in proportion. `bosEveryRow` leaves the first token
 * of each row out, because it is no text.
 */
export function fingerprintsOf(rows: TokenRows, bosEveryRow: boolean): string[] {
  const { ids } = textOf(rows, bosEveryRow)
  const aligned = new Map<number, number>()
  forEachWindow(ids, (hash, start) => {
    if (start % windowLength === 0 && isTelling(ids, start)) aligned.set(hash, 0)
  })
  forEachWindow(ids, (hash) => {
    const count = aligned.get(hash)
    if (count !== undefined) aligned.set(hash, count + 1)
  })
  const once = [...aligned].filter(([, count]) => count === 1).map(([hash]) => hash)
  const kept = Math.min(once.length, maxFingerprints)
  const spread = Array.from({ length: kept }, (_, i) => once[Math.floor((i * once.length) / kept)] as number)
  return spread.map((hash) => hash.toString(16).padStart(13, '0')).sort()
}

/** The first passage of `rows` whose fingerprint is among `fingerprints`, and how many are; undefined where none is. */
export function sharedPassage(
  fingerprints: readonly string[],
  rows: TokenRows,
  bosEveryRow: boolean,
): SharedPassage | undefined {
  const wanted = new Set(fingerprints.map((hash) => Number.parseInt(hash, 16)))
  const { ids, textLength } = textOf(rows, bosEveryRow)
  const found = new Set<number>()
  let first = -1
  forEachWindow(ids, (hash, start) => {
    if (!wanted.has(hash)) return
    found.add(hash)
    if (first < 0) first = start
  })
  if (first < 0) return undefined
  const row = Math.floor(first / textLength)
  return { row, token: (first % textLength) + (bosEveryRow ? 1 : 0), found: found.size, of: wanted.size }
}

/** The rows end to end, as the text ran before it was cut. */
function textOf(rows: TokenRows, bosEveryRow: boolean): { readonly ids: Int32Array; readonly textLength: number } {
  if (!bosEveryRow) return { ids: rows.ids, textLength: rows.rowLength }
  return { ids: rows.ids.filter((_, i) => i % rows.rowLength !== 0), textLength: rows.rowLength - 1 }
}

function isTelling(ids: Int32Array, start: number): boolean {
  return new Set(ids.subarray(start, start + windowLength)).size >= minDifferentTokens
}

// two polynomial hashes modulo the largest primes below 2^26, so that every product stays an exact float64 integer
const [p, q] = [67_108_859, 67_108_837]
const [a, b] = [40_503_017, 25_214_903]
const [aTop, bTop] = [power(a, windowLength - 1, p), power(b, windowLength - 1, q)]

/** Calls `visit` with the 52-bit hash of every window, in order: a million windows cost some ten milliseconds. */
function forEachWindow(ids: Int32Array, visit: (hash: number, start: number) => void): void {
  let [h, k] = [0, 0]
  for (let i = 0; i < ids.length; i++) {
    if (i >= windowLength) {
      const leaving = ids[i - windowLength]! + 1
      h = (h + p - ((leaving * aTop) % p)) % p
      k = (k + q - ((leaving * bTop) % q)) % q
    }
    const entering = ids[i]! + 1
    h = (h * a + entering) % p
    k = (k * b + entering) % q
    if (i >= windowLength - 1) visit(h * 2 ** 26 + k, i - windowLength + 1)
  }
}

function power(base: number, exponent: number, modulus: number): number {
  let result = 1
  for (let i = 0; i < exponent; i++) result = (result * base) % modulus
  return result
}
