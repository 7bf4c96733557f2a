import type { WeightTable } from '../types.ts'
import type { Sizes } from './architecture.ts'

/**
 * The axes of a weight as a short text: which shape letters make up each dimension, and so how to cut a stored tensor
 * when units go.
 *
 *     axes      = dimension { ' ' dimension }
 *     dimension = letter | '(' sum ')'
 *     sum       = product { '|' product }         pieces stored one after the other in a fused tensor
 *     product   = factor { ' ' factor }           outer → inner
 *     factor    = letter | '(' sum ')'
 *
 * | axes                        | a tensor of                                                        |
 * |-----------------------------|--------------------------------------------------------------------|
 * | `(K G E) D`                 | Llama q_proj: rows ordered by key/value head, query head, channel  |
 * | `D (K E \| K E \| K E)`     | GPT-2 c_attn, stored input first: q, k, v side by side             |
 * | `(K G E \| K E \| K E) D`   | Phi-3 qkv_proj: all of q, then k, then v                           |
 * | `(K (E \| E \| E)) D`       | GPT-NeoX query_key_value: q, k, v of one head, then the next head  |
 * | `(K (G E \| E \| E)) D`     | Falcon, grouped: the queries of a group, its key, its value        |
 *
 * In a `WeightTable` the roles of a fused tensor are joined in the order of its pieces:
 * `'qProj|kProj|vProj': ['self_attn.qkv_proj.weight', '(K G E | K E | K E) D']`.
 */
export interface Axes {
  readonly text: string
  readonly dimensions: readonly Sum[]
  /** Pieces of the fused dimension, 1 when nothing is fused. */
  readonly pieces: number
}

/** Pieces side by side; a plain product has one. */
export type Sum = readonly Product[]
export type Product = readonly Factor[]
export type Factor = string | Sum

/** Indices kept along one dimension, as contiguous stretches in ascending order. */
export type Runs = readonly (readonly [start: number, length: number])[]

const parsed = new Map<string, Axes>()

/** The structure behind an axes text; parsed once per text. Throws `RangeError` where the text is not in the grammar. */
export function parseAxes(text: string): Axes {
  const known = parsed.get(text)
  if (known !== undefined) return known
  const tokens = text.match(/[A-Z]|[()|]|\S/g) ?? []
  let next = 0

  function factor(): Factor {
    const token = tokens[next++]
    if (token === undefined) throw syntaxError(text, 'ends', 'a letter or "("')
    if (/^[A-Z]$/.test(token)) return token
    if (token !== '(') throw syntaxError(text, `has "${token}"`, 'a letter or "("')
    const inner = sum()
    if (tokens[next++] !== ')') throw syntaxError(text, 'leaves a "(" open', '")"')
    return inner
  }
  function sum(): Sum {
    const pieces: Product[] = []
    do {
      const product: Factor[] = [factor()]
      while (next < tokens.length && tokens[next] !== '|' && tokens[next] !== ')') product.push(factor())
      pieces.push(product)
    } while (tokens[next] === '|' && next++)
    return pieces
  }

  const dimensions: Sum[] = []
  while (next < tokens.length) {
    const dimension = factor()
    dimensions.push(typeof dimension === 'string' ? [[dimension]] : dimension)
  }
  if (dimensions.length === 0) throw syntaxError(text, 'is empty', 'at least one letter')
  const fused = dimensions.flatMap(fusedSums)
  if (fused.length > 1) throw syntaxError(text, `fuses ${fused.length} times`, 'one sum of pieces at most')
  const axes: Axes = { text, dimensions, pieces: fused[0]?.length ?? 1 }
  parsed.set(text, axes)
  return axes
}

/** Sums of more than one piece inside `sum`, itself included. */
function fusedSums(sum: Sum): Sum[] {
  const inside = sum.flatMap((product) => product.flatMap((part) => (typeof part === 'string' ? [] : fusedSums(part))))
  return sum.length > 1 ? [sum, ...inside] : inside
}

function syntaxError(text: string, found: string, expected: string): RangeError {
  return new RangeError(`axes "${text}": ${found}, expected ${expected}; correct the architecture's weight table`)
}

/** The dimensions of a tensor with these axes whose size depends on `letter`. */
export function dimensionsOf(axes: string, letter: string): number[] {
  const has = (sum: Sum): boolean =>
    sum.some((product) => product.some((part) => (typeof part === 'string' ? part === letter : has(part))))
  return parseAxes(axes).dimensions.flatMap((sum, dimension) => (has(sum) ? [dimension] : []))
}

/** The shape of a tensor with these axes. Throws `RangeError` for a letter without a size. */
export function shapeOf(axes: string, sizes: Sizes): number[] {
  return parseAxes(axes).dimensions.map((sum) => sumSize(sum, sizes, axes))
}

/** How many elements a tensor with these axes has. */
export function elementCount(axes: string, sizes: Sizes): number {
  return shapeOf(axes, sizes).reduce((product, size) => product * size, 1)
}

function sumSize(sum: Sum, sizes: Sizes, text: string): number {
  return sum.reduce(
    (total, product) => total + product.reduce((size, part) => size * factorSize(part, sizes, text), 1),
    0,
  )
}

function factorSize(factor: Factor, sizes: Sizes, text: string): number {
  if (typeof factor !== 'string') return sumSize(factor, sizes, text)
  const size = sizes[factor]
  if (size === undefined) {
    const known = Object.keys(sizes).join(', ')
    throw new RangeError(
      `axes "${text}": letter "${factor}" has no size, expected one of ${known}; add it to the architecture's sizes()`,
    )
  }
  return size
}

/**
 * What stays of each dimension when only the units `kept` (ascending) of the letter `unit` stay. `sizes` are those of
 * the stored tensor; the result has shape `shapeOf(axes, { ...sizes, [unit]: kept.length })`.
 */
export function keptRuns(axes: string, sizes: Sizes, unit: string, kept: readonly number[]): Runs[] {
  const keptOfUnit = mergeRuns(kept.map((index) => [index, 1]))
  const select: Select = {
    letter: (letter, size) => (letter === unit ? keptOfUnit : [[0, size]]),
    piece: () => true,
  }
  return parseAxes(axes).dimensions.map((sum) => runsOfSum(sum, sizes, select, axes))
}

/** Where piece `piece` of a fused tensor lies, per dimension; cut with `sliceTensor` it has `pieceAxes(axes, piece)`. */
export function pieceRuns(axes: string, sizes: Sizes, piece: number): Runs[] {
  const { dimensions, pieces } = parseAxes(axes)
  checkPiece(axes, piece, pieces)
  const select: Select = {
    letter: (_, size) => [[0, size]],
    piece: (index, count) => count === 1 || index === piece,
  }
  return dimensions.map((sum) => runsOfSum(sum, sizes, select, axes))
}

/** Axes of one piece of a fused tensor taken by itself: piece 1 of `(K (G E | E | E)) D` is `(K E) D`. */
export function pieceAxes(axes: string, piece: number): string {
  const { dimensions, pieces } = parseAxes(axes)
  checkPiece(axes, piece, pieces)
  const letters = (sum: Sum): string[] =>
    (sum[sum.length === 1 ? 0 : piece] ?? []).flatMap((part) => (typeof part === 'string' ? [part] : letters(part)))
  return dimensions
    .map(letters)
    .map((product) => (product.length === 1 ? product[0] : `(${product.join(' ')})`))
    .join(' ')
}

function checkPiece(axes: string, piece: number, pieces: number): void {
  if (!Number.isInteger(piece) || piece < 0 || piece >= pieces) {
    throw new RangeError(`axes "${axes}": piece ${piece} asked for, expected 0 to ${pieces - 1}`)
  }
}

/** Which indices of a letter, and which pieces of a sum, are wanted. */
interface Select {
  letter(letter: string, size: number): Runs
  piece(index: number, count: number): boolean
}

function runsOfSum(sum: Sum, sizes: Sizes, select: Select, text: string): Runs {
  const runs: [number, number][] = []
  let offset = 0
  for (const [index, product] of sum.entries()) {
    if (select.piece(index, sum.length)) {
      for (const [start, length] of runsOfProduct(product, sizes, select, text)) runs.push([offset + start, length])
    }
    offset += sumSize([product], sizes, text)
  }
  return mergeRuns(runs)
}

function runsOfProduct(product: Product, sizes: Sizes, select: Select, text: string): Runs {
  // from the innermost factor outwards: index = outer · innerSize + inner
  let inner: Runs = [[0, 1]]
  let innerSize = 1
  for (const factor of product.toReversed()) {
    const size = factorSize(factor, sizes, text)
    const outer = typeof factor === 'string' ? select.letter(factor, size) : runsOfSum(factor, sizes, select, text)
    inner = nestRuns(outer, inner, innerSize)
    innerSize *= size
  }
  return inner
}

function nestRuns(outer: Runs, inner: Runs, innerSize: number): Runs {
  if (coversAll(inner, innerSize)) return outer.map(([start, length]) => [start * innerSize, length * innerSize])
  const runs: [number, number][] = []
  for (const [first, count] of outer) {
    for (let index = first; index < first + count; index++) {
      for (const [start, length] of inner) runs.push([index * innerSize + start, length])
    }
  }
  return mergeRuns(runs)
}

function mergeRuns(runs: Runs): Runs {
  const merged: [number, number][] = []
  for (const [start, length] of runs) {
    const last = merged.at(-1)
    if (last !== undefined && last[0] + last[1] === start) last[1] += length
    else if (length > 0) merged.push([start, length])
  }
  return merged
}

function coversAll(runs: Runs, size: number): boolean {
  const first = runs[0]
  return runs.length === 1 && first?.[0] === 0 && first[1] === size
}

/**
 * The part of a row-major tensor at the given runs of each dimension, as a new array. `elementSize` is the number of
 * array items one element takes: the size of the dtype in bytes for raw bytes, 1 for a `Float32Array`.
 */
export function sliceTensor<Values extends Uint8Array | Float32Array>(
  values: Values,
  elementSize: number,
  shape: readonly number[],
  runs: readonly Runs[],
): Values extends Uint8Array ? Uint8Array<ArrayBuffer> : Float32Array<ArrayBuffer> {
  const items = shape.reduce((product, size) => product * size, elementSize)
  if (values.length !== items || runs.length !== shape.length) {
    throw new RangeError(
      `sliceTensor: got ${values.length} items and runs for ${runs.length} dimensions, expected ${items} items ` +
        `for shape [${shape.join(', ')}] of element size ${elementSize}`,
    )
  }
  // dimensions kept whole at the end are one contiguous copy
  let cut = shape.length
  let stride = elementSize
  while (cut > 0 && coversAll(runs[cut - 1]!, shape[cut - 1]!)) stride *= shape[--cut]!
  const keptItems = runs.slice(0, cut).reduce((product, dimension) => product * lengthOf(dimension), stride)
  const result = values instanceof Uint8Array ? new Uint8Array(keptItems) : new Float32Array(keptItems)

  let written = 0
  function copy(dimension: number, offset: number, size: number): void {
    if (dimension === cut) {
      result.set(values.subarray(offset, offset + size), written)
      written += size
      return
    }
    const itemsPerIndex = size / shape[dimension]!
    for (const [start, length] of runs[dimension]!) {
      if (start < 0 || start + length > shape[dimension]!) {
        throw new RangeError(
          `sliceTensor: run [${start}, ${start + length}) of dimension ${dimension}, expected inside 0 to ${shape[dimension]}`,
        )
      }
      if (dimension === cut - 1) {
        copy(cut, offset + start * itemsPerIndex, length * itemsPerIndex)
      } else {
        for (let index = start; index < start + length; index++) {
          copy(dimension + 1, offset + index * itemsPerIndex, itemsPerIndex)
        }
      }
    }
  }
  if (keptItems > 0) copy(0, 0, items)
  return result as Values extends Uint8Array ? Uint8Array<ArrayBuffer> : Float32Array<ArrayBuffer>
}

/** How many indices the runs keep. */
export function lengthOf(runs: Runs): number {
  return runs.reduce((total, [, length]) => total + length, 0)
}

/** The units that stay of `units` when `removed` go, ascending. Throws `RangeError` for a unit that does not exist. */
export function keptUnits(units: number, removed: readonly number[]): number[] {
  const gone = new Set(removed)
  for (const unit of gone) {
    if (!Number.isInteger(unit) || unit < 0 || unit >= units) {
      throw new RangeError(`unit ${unit} cannot be removed, expected 0 to ${units - 1}`)
    }
  }
  return Array.from({ length: units }, (_, unit) => unit).filter((unit) => !gone.has(unit))
}

/** Where a role is stored: the tensor, its axes, and which piece of it when it is fused with others. */
export interface WeightPlace {
  readonly name: string
  readonly axes: string
  /** Absent when the tensor holds this role alone. */
  readonly piece?: number
}

/** The place of `role` in a weight table whose keys may join fused roles with `|`, or undefined when it has none. */
export function findRole(table: WeightTable, role: string): WeightPlace | undefined {
  const own = table[role]
  if (own !== undefined) return { name: own[0], axes: own[1] }
  for (const [key, [name, axes]] of Object.entries(table)) {
    const piece = key.split('|').indexOf(role)
    if (piece >= 0) return { name, axes, piece }
  }
  return undefined
}
