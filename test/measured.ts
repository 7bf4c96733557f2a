import { appendFileSync } from 'node:fs'
import { expect } from 'vitest'

/**
 * Fails where `error` is more than three times `measured`, the largest that was found at this place: room for another
 * processor's order of sums, not for a mistake. BLOCKPRUNER_MEASURED names a file to which every error is appended, behind the
 * line that asked, to measure them anew. A last place of float32 is always allowed: what is exact here may round elsewhere.
 */
export function expectError(error: number, measured: number, what?: string): void {
  const file = process.env['BLOCKPRUNER_MEASURED']
  if (file !== undefined) appendFileSync(file, `${callerOf(new Error().stack)} ${error}\n`)
  expect(error, what).toBeLessThanOrEqual(3 * measured + 2 ** -23)
}

/** The line of a test that called `expectError`, as `encoders.test.ts:61`. */
const callerOf = (stack = '') => /([\w.]+\.ts:\d+):\d+\)?$/.exec(stack.split('\n')[2] ?? '')?.[1] ?? 'unknown'
