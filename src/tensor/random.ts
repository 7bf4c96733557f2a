/** The four words of a generator: plain data, so that a killed run goes on where it stopped. */
export type RandomState = readonly [number, number, number, number]

/**
 * Seeded random numbers: xoshiro128** (Blackman and Vigna, "Scrambled linear pseudorandom number generators", 2021), its
 * state filled from the seed by SplitMix32. Same seed, same numbers, on every machine; not for secrets.
 */
export class Random {
  #a: number
  #b: number
  #c: number
  #d: number

  /** Starts from `seed`, an integer in 0..2⁵³-1, or goes on from a `state`. Throws `RangeError` for anything else. */
  constructor(seed: number | RandomState) {
    ;[this.#a, this.#b, this.#c, this.#d] = typeof seed === 'number' ? stateOfSeed(seed) : checkedState(seed)
  }

  /** What `new Random(state)` goes on from. */
  get state(): RandomState {
    return [this.#a, this.#b, this.#c, this.#d]
  }

  /** 32 random bits, an integer in 0..2³²-1. */
  bits(): number {
    const result = Math.imul(rotateLeft(Math.imul(this.#b, 5), 7), 9) >>> 0
    const shifted = this.#b << 9
    this.#c ^= this.#a
    this.#d ^= this.#b
    this.#b ^= this.#c
    this.#a ^= this.#d
    this.#c ^= shifted
    this.#d = rotateLeft(this.#d, 11)
    return result
  }

  /** Uniform in [0, 1), a multiple of 2⁻⁵³. */
  uniform(): number {
    const high = this.bits() >>> 5
    const low = this.bits() >>> 6
    return (high * 2 ** 26 + low) / 2 ** 53
  }

  /** Uniform integer in 0..n-1 for n in 1..2³²; draws that would favour small numbers are thrown away. */
  below(n: number): number {
    if (!Number.isInteger(n) || n < 1 || n > 2 ** 32) {
      throw new RangeError(`an integer below n needs n in 1..2^32, found ${n}`)
    }
    // the largest multiple of n that 32 bits can count: above it, remainders are no longer equally likely
    const limit = 2 ** 32 - (2 ** 32 % n)
    for (;;) {
      const bits = this.bits()
      if (bits < limit) return bits % n
    }
  }

  /** Normal with mean 0 and deviation 1 (Box and Muller, the cosine half: no second value to remember in the state). */
  normal(): number {
    // 1 - u lies in (0, 1], so that the logarithm is finite
    return Math.sqrt(-2 * Math.log(1 - this.uniform())) * Math.cos(2 * Math.PI * this.uniform())
  }

  /** `k` different integers of 0..n-1 in random order, all ordered choices equally likely; memory grows with k, not n. */
  sample(n: number, k: number): number[] {
    if (!Number.isInteger(n) || !Number.isInteger(k) || k < 0 || k > n) {
      throw new RangeError(`a sample of k out of n needs integers with 0 <= k <= n, found k=${k}, n=${n}`)
    }
    // the first k swaps of a Fisher-Yates shuffle, keeping only the places that moved
    const moved = new Map<number, number>()
    const chosen: number[] = []
    for (let i = 0; i < k; i++) {
      const j = i + this.below(n - i)
      chosen.push(moved.get(j) ?? j)
      moved.set(j, moved.get(i) ?? i)
    }
    return chosen
  }

  /** The items in random order, as a new array. */
  shuffle<T>(items: readonly T[]): T[] {
    return this.sample(items.length, items.length).map((index) => items[index] as T)
  }
}

function rotateLeft(word: number, bits: number): number {
  return (word << bits) | (word >>> (32 - bits))
}

function stateOfSeed(seed: number): RandomState {
  if (!Number.isSafeInteger(seed) || seed < 0) {
    throw new RangeError(`a seed is an integer in 0..2^53-1, found ${seed}`)
  }
  let counter = ((seed % 2 ** 32) | 0) ^ Math.imul(Math.floor(seed / 2 ** 32), 0x85ebca6b)
  const next = () => {
    counter = (counter + 0x9e3779b9) | 0
    let word = counter
    word = Math.imul(word ^ (word >>> 16), 0x21f0aaad)
    word = Math.imul(word ^ (word >>> 15), 0x735a2d97)
    return word ^ (word >>> 15)
  }
  // four consecutive outputs of a bijection of the counter are different, so they are never all zero
  return [next(), next(), next(), next()]
}

function checkedState(state: RandomState): RandomState {
  if (state.length !== 4 || !state.every((word) => Number.isInteger(word)) || state.every((word) => word === 0)) {
    throw new RangeError(`a generator's state is four integers, not all zero, found [${state}]`)
  }
  return [state[0] | 0, state[1] | 0, state[2] | 0, state[3] | 0]
}
