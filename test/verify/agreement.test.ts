import { expect, test } from 'vitest'
import { agreementOf, isWithin } from '../../src/verify/agreement.ts'

test('does not see a constant added to a row', () => {
  const ours = Float32Array.of(1, 2, 3, 0, -1, 4)
  const theirs = Float32Array.of(11, 12, 13, -5, -6, -1)
  const { topOne, meanKl, positions } = agreementOf(ours, theirs, 3)
  expect(topOne).toBe(1)
  expect(meanKl).toBeCloseTo(0, 12)
  expect(positions).toBe(2)
})

test('is the mean divergence in nats and the share of equal favourites', () => {
  const ours = Float32Array.of(Math.log(0.5), Math.log(0.5), Math.log(0.75), Math.log(0.25))
  const theirs = Float32Array.of(Math.log(0.5), Math.log(0.5), Math.log(0.25), Math.log(0.75))
  const { topOne, meanKl } = agreementOf(ours, theirs, 2)
  expect(topOne).toBe(0.5)
  // 0.75 ln 3 - 0.25 ln 3 at the second position
  expect(meanKl).toBeCloseTo((0.5 * Math.log(3)) / 2, 6)
})

test('is within no limit when a logit is no number', () => {
  const agreement = agreementOf(Float32Array.of(1, 2), Float32Array.of(Number.NaN, 2), 2)
  expect(isWithin(agreement, { topOne: 0, meanKl: 100 })).toBe(false)
})

test('refuses tables of other sizes', () => {
  expect(() => agreementOf(new Float32Array(4), new Float32Array(2), 2)).toThrow(RangeError)
  expect(() => agreementOf(new Float32Array(0), new Float32Array(0), 2)).toThrow(RangeError)
})
