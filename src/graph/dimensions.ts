/**
 * Shape letters, or sizes where they are fixed. A letter stands for one size in a whole graph; `P+T` and `B*T` are sums and
 * products of letters.
 */
export type Dims = readonly (string | number)[]

type Dim = Dims[number]

/** What the letters of one graph stand for, learned as its operations are written. */
export interface Letters {
  /** Whether both may be one size. A letter of the model's sizes that meets a number stands for it from then on. */
  agree(a: Dim, b: Dim): boolean
  /** The same of all dimensions. */
  allAgree(a: Dims, b: Dims): boolean
  /** The dimensions of a with b, as ONNX broadcasts them; undefined where they don't go together. */
  broadcast(a: Dims, b: Dims): Dims | undefined
  /**
   * The dimensions after x is reshaped: 0 copies a dimension, -1 is what is left. Undefined where the numbers of elements
   * differ.
   */
  reshape(dims: Dims, shape: readonly number[]): Dims | undefined
  /** Whether both have as many elements. A letter of the model's sizes that alone is unknown stands for what makes them so. */
  countsAgree(a: Dims, b: Dims): boolean
  /** The size where it is known. */
  sizeOf(dim: Dim): Dim
}

/** Rows, positions and words: known when a graph runs, so that no graph may ask for a number of them. */
const runTimeLetters = ['B', 'N', 'P', 'S', 'T', 'W']

/** Nothing is known of any letter. */
export function newLetters(): Letters {
  const sizes = new Map<string, number>()
  const sizeOf = (dim: Dim): Dim => (typeof dim === 'string' ? (sizes.get(dim) ?? dim) : dim)
  const isFree = (dim: Dim): dim is string =>
    typeof dim === 'string' && /^[A-Z]+$/.test(dim) && !runTimeLetters.includes(dim)

  const agree = (a: Dim, b: Dim): boolean => {
    const [known, other] = [sizeOf(a), sizeOf(b)]
    if (known === other) return true
    if (isFree(known) && typeof other === 'number') sizes.set(known, other)
    else if (isFree(other) && typeof known === 'number') sizes.set(other, known)
    else return false
    return true
  }
  const allAgree = (a: Dims, b: Dims) => a.length === b.length && a.every((dim, i) => agree(dim, b[i]!))

  function broadcast(a: Dims, b: Dims): Dims | undefined {
    const [long, short] = a.length >= b.length ? [a, b] : [b, a]
    const result = [...long]
    for (const [i, dim] of short.entries()) {
      const at = long.length - short.length + i
      if (sizeOf(long[at]!) === 1) result[at] = dim
      else if (sizeOf(dim) !== 1 && !agree(long[at]!, dim)) return undefined
    }
    return result
  }

  function reshape(dims: Dims, shape: readonly number[]): Dims | undefined {
    const isCopied = (_: unknown, axis: number) => shape[axis] === 0
    const unknown = shape.filter((size) => size === -1).length
    if (unknown > 1 || shape.some((size, axis) => size === 0 && axis >= dims.length)) return undefined
    const before = productOf(dims.filter((_, axis) => !isCopied(_, axis)).map(sizeOf))
    const fixed = shape.filter((size) => size > 0).reduce((product, size) => product * size, 1)
    const left = before.number / fixed
    const fill = (rest: Dim) => shape.map((size, axis) => (size === 0 ? dims[axis]! : size === -1 ? rest : size))
    if (unknown === 1) return Number.isInteger(left) ? fill(nameOfProduct(left, before.letters)) : undefined
    const [letter, ...others] = before.letters
    if (letter === undefined) return left === 1 ? fill(1) : undefined
    const isSize = others.length === 0 && Number.isInteger(1 / left)
    return isSize && agree(letter, 1 / left) ? fill(1) : undefined
  }

  function countsAgree(a: Dims, b: Dims): boolean {
    const [one, other] = [productOf(a.map(sizeOf)), productOf(b.map(sizeOf))]
    const rest = [...other.letters]
    const alone = one.letters.filter((letter) => {
      const at = rest.indexOf(letter)
      if (at >= 0) rest.splice(at, 1)
      return at < 0
    })
    const unknown = [...alone, ...rest]
    if (unknown.length === 0) return one.number === other.number
    const size = alone.length === 0 ? one.number / other.number : other.number / one.number
    return unknown.length === 1 && Number.isInteger(size) && agree(unknown[0]!, size)
  }

  return { agree, allAgree, broadcast, reshape, countsAgree, sizeOf }
}

function productOf(dims: Dims): { number: number; letters: string[] } {
  const factors = dims.flatMap((dim) => (typeof dim === 'string' && !dim.includes('+') ? dim.split('*') : [dim]))
  const numbers = factors.map(Number).filter(Number.isFinite)
  return {
    number: numbers.reduce((product, size) => product * size, 1),
    letters: factors.filter((factor): factor is string => !Number.isFinite(Number(factor))),
  }
}

function nameOfProduct(number: number, letters: readonly string[]): Dim {
  if (letters.length === 0) return number
  return number === 1 ? letters.join('*') : [number, ...letters].join('*')
}

/** The size of two pieces side by side: `P+T`. */
export function sumOf(a: Dim, b: Dim): Dim {
  return typeof a === 'number' && typeof b === 'number' ? a + b : `${a}+${b}`
}
