import { describe, expect, test } from 'vitest'
import { Random } from '../../src/tensor/random.ts'

describe('Random', () => {
  test('is xoshiro128**: the first words from the state 1, 2, 3, 4', () => {
    // 5·2 rotated by 7, times 9 = 11520; then by hand with b = 0, and so on
    const random = new Random([1, 2, 3, 4])
    expect([random.bits(), random.bits(), random.bits(), random.bits()]).toEqual([11520, 0, 5927040, 70819200])
  })

  test('gives the same numbers for the same seed and others for another, large seeds included', () => {
    const draw = (seed: number) => {
      const random = new Random(seed)
      return Array.from({ length: 5 }, () => random.bits())
    }
    expect(draw(42)).toEqual(draw(42))
    expect(draw(42)).not.toEqual(draw(43))
    expect(draw(42)).not.toEqual(draw(42 + 2 ** 32))
    expect(draw(0)).toMatchInlineSnapshot(`
      [
        1789933344,
        44971166,
        2521387044,
        3848737593,
        1138324114,
      ]
    `)
  })

  test('goes on from its state where it stopped', () => {
    const first = new Random(7)
    first.normal()
    const second = new Random(JSON.parse(JSON.stringify(first.state)))
    expect(second.sample(1000, 20)).toEqual(first.sample(1000, 20))
  })

  test('spreads uniform numbers evenly over [0, 1)', () => {
    const random = new Random(1)
    const bins = new Array<number>(10).fill(0)
    for (let i = 0; i < 100_000; i++) {
      const value = random.uniform()
      bins[Math.floor(value * 10)]! += 1
    }
    expect(bins).toHaveLength(10)
    // chi squared with 9 degrees of freedom: 27.9 at 0.1 %
    expect(bins.reduce((sum, count) => sum + (count - 10_000) ** 2 / 10_000, 0)).toBeLessThan(27.9)
  })

  test('draws integers below n without favouring small ones', () => {
    const random = new Random(2)
    // with 32 bits taken modulo 3·2^30, the lower third would come up twice as often
    const n = 3 * 2 ** 30
    let low = 0
    for (let i = 0; i < 30_000; i++) if (random.below(n) < n / 3) low += 1
    expect(low / 30_000).toBeGreaterThan(0.32)
    expect(low / 30_000).toBeLessThan(0.35)
    expect(new Random(3).below(1)).toBe(0)
    expect(() => random.below(0)).toThrow(RangeError)
  })

  test('draws normal numbers with mean 0 and deviation 1', () => {
    const random = new Random(4)
    const values = Array.from({ length: 50_000 }, () => random.normal())
    const mean = values.reduce((sum, value) => sum + value, 0) / values.length
    const variance = values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / values.length
    expect(Math.abs(mean)).toBeLessThan(0.02)
    expect(Math.abs(variance - 1)).toBeLessThan(0.03)
    expect(values.filter((value) => Math.abs(value) > 1.96).length / values.length).toBeCloseTo(0.05, 2)
  })

  test('samples k of n without replacement, every ordered choice equally often', () => {
    const random = new Random(5)
    const counts = new Map<string, number>()
    for (let i = 0; i < 12_000; i++) {
      const key = random.sample(4, 2).join()
      counts.set(key, (counts.get(key) ?? 0) + 1)
    }
    expect(counts.size).toBe(12)
    for (const count of counts.values()) expect(Math.abs(count - 1000)).toBeLessThan(120)
    expect(new Set(random.sample(1_000_000_000, 1000)).size).toBe(1000)
    expect(() => random.sample(3, 4)).toThrow('k=4, n=3')
  })

  test('shuffles into a new array with the same items', () => {
    const items = Object.freeze(['a', 'b', 'c', 'd', 'e'])
    const shuffled = new Random(6).shuffle(items)
    expect([...shuffled].sort()).toEqual(items)
    expect(new Random(6).shuffle(items)).toEqual(shuffled)
  })

  test('refuses a seed or a state that is none', () => {
    expect(() => new Random(-1)).toThrow('found -1')
    expect(() => new Random(0.5)).toThrow(RangeError)
    expect(() => new Random([0, 0, 0, 0])).toThrow('not all zero')
  })
})
