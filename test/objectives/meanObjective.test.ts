import { describe, expect, it } from 'vitest'
import { emptyPlan } from '../../src/model/plan.ts'
import { meanObjective } from '../../src/objectives/meanObjective.ts'
import { toyObjective } from '../search/toy.ts'

describe('the mean of objectives', () => {
  const a = { ...toyObjective(3, (_, row) => row), measure: 'a' }
  const b = { ...toyObjective(3, (_, row) => (row === 1 ? Number.NaN : 10)), measure: 'b' }

  it('is taken value by value, and a row without a value under one of them has none', async () => {
    const both = meanObjective([a, b])
    const seen: number[][] = []
    const [values] = await both.evaluateRows([emptyPlan], { onRows: (_, rows) => seen.push([...rows]) })
    expect([...values!]).toEqual([5, Number.NaN, 6])
    expect(seen).toEqual([[5, Number.NaN, 6]])
    expect(await both.evaluate([emptyPlan])).toEqual([5.5])
    expect([...(await both.evaluateRows([emptyPlan], { range: [2, 3] }))[0]!]).toEqual([6])
    expect(both.measure).toBe('mean of a and b')
  })

  it('of one is that one, of none an error', () => {
    expect(meanObjective([a])).toBe(a)
    expect(() => meanObjective([])).toThrow(RangeError)
  })
})
