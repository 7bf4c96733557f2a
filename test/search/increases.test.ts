import { describe, expect, it } from 'vitest'
import { Increases } from '../../src/search/increases.ts'

const spread = { rows: 0.4, drift: 0.1 }

describe('what is known of loss increases', () => {
  it('is the mean, without an error, of rows that were all measured now', () => {
    const increases = new Increases(4)
    increases.record('a', 0, Float64Array.of(1, 2))
    increases.record('a', 2, Float64Array.of(3, 6))
    expect(increases.estimate('a', spread)).toEqual({ mean: 3, error: 0 })
  })

  it('is nothing of a candidate that was never measured', () => {
    const increases = new Increases(4)
    expect(increases.estimate('a', spread).mean).toBe(Number.NEGATIVE_INFINITY)
    expect([...increases.stepsOf('a')]).toEqual([-1, -1, -1, -1])
  })

  it('keeps old rows, moved by what the rows changed that were measured again', () => {
    const increases = new Increases(4)
    increases.record('a', 0, Float64Array.of(1, 2, 3, 4))
    increases.nextStep()
    expect(increases.estimate('a', spread).mean).toBe(2.5)
    increases.record('a', 0, Float64Array.of(1.3, 2.3))
    // two changes of 0.3 and the expectation of none: 0.2 on the two old rows
    expect(increases.estimate('a', spread).mean).toBeCloseTo((1.3 + 2.3 + 3.2 + 4.2) / 4, 12)
    expect([...increases.stepsOf('a')].map((step) => increases.isFresh(step))).toEqual([true, true, false, false])
  })

  it('errs less the more rows were measured, and less from old rows than from none', () => {
    const errorOf = (old: number, fresh: number) => {
      const increases = new Increases(8)
      if (old > 0) increases.record('a', 0, new Float64Array(old).fill(1))
      increases.nextStep()
      if (fresh > 0) increases.record('a', 0, new Float64Array(fresh).fill(1))
      return increases.estimate('a', spread).error
    }
    const errors = [errorOf(2, 0), errorOf(4, 0), errorOf(8, 0), errorOf(8, 2), errorOf(8, 6), errorOf(8, 8)]
    expect(errors).toEqual(errors.toSorted((a, b) => b - a))
    expect(new Set(errors).size).toBe(errors.length)
    // a mean of 2 of 8 rows as that of all: 6/8 of the rows are missing
    expect(errorOf(0, 2)).toBeCloseTo(0.75 * 0.4 * Math.sqrt(1 / 2 + 1 / 6), 12)
  })

  it('measures the spread of rows and of changes, and calls them by half as long as there are few', () => {
    const increases = new Increases(4)
    for (const name of ['a', 'b', 'c', 'd', 'e']) increases.record(name, 0, Float64Array.of(0, 2, 0, 2))
    const { rows, drift } = increases.spread()
    expect(rows).toBeCloseTo(2 / Math.sqrt(3), 12)
    expect(drift).toBe(rows / 2)
    increases.nextStep()
    for (const name of ['a', 'b', 'c', 'd', 'e']) increases.record(name, 0, Float64Array.of(0.1, 2.2))
    expect(increases.spread().drift).toBeCloseTo(0.1 / Math.SQRT2, 12)
  })

  it('never comes back from a loss that is no number', () => {
    const increases = new Increases(4)
    increases.record('a', 0, Float64Array.of(Number.POSITIVE_INFINITY, 0))
    expect(increases.estimate('a', spread).mean).toBe(Number.POSITIVE_INFINITY)
  })
})
