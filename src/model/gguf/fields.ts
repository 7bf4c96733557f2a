/** Metadata of a GGUF file, read with its type checked. Every function throws `CheckpointError` naming the key. */
import { CheckpointError } from '../../errors.ts'
import type { GgufFile } from '../../format/gguf/openGgufFile.ts'

/** What the readers of metadata need of a file. */
export type MetadataSource = Pick<GgufFile, 'path' | 'metadata'>

function mistyped(source: MetadataSource, key: string, expected: string): CheckpointError {
  const value = source.metadata.get(key)?.value
  const found =
    value === undefined
      ? 'missing'
      : value.type === 'array'
        ? `an array of ${value.elementType}`
        : `${value.type} ${value.value}`
  return new CheckpointError(
    `${source.path}: metadata "${key}" is ${found.slice(0, 80)}, expected ${expected}; was the file made by llama.cpp's converter?`,
  )
}

/** A whole number ≥ 0; undefined when the key is absent. */
export function optionalInteger(source: MetadataSource, key: string): number | undefined {
  const value = source.metadata.get(key)?.value
  if (value === undefined) return undefined
  const number = typeof value.value === 'number' || typeof value.value === 'bigint' ? Number(value.value) : Number.NaN
  if (!Number.isSafeInteger(number) || number < 0) throw mistyped(source, key, 'a whole number')
  return number
}

export function requiredInteger(source: MetadataSource, key: string): number {
  const number = optionalInteger(source, key)
  if (number === undefined) throw mistyped(source, key, 'a whole number')
  return number
}

/** A finite number. One stored as float32 comes back as the shortest decimal of it: 1e-5, not 0.000009999999747378752. */
export function optionalNumber(source: MetadataSource, key: string): number | undefined {
  const value = source.metadata.get(key)?.value
  if (value === undefined) return undefined
  if (typeof value.value !== 'number' || !Number.isFinite(value.value)) throw mistyped(source, key, 'a finite number')
  return value.type === 'float32' ? shortestDecimal(value.value) : value.value
}

export function requiredNumber(source: MetadataSource, key: string): number {
  const number = optionalNumber(source, key)
  if (number === undefined) throw mistyped(source, key, 'a finite number')
  return number
}

/** The decimal with the fewest digits that rounds to the float32 `value`; nine always do. */
export function shortestDecimal(value: number): number {
  for (let digits = 1; digits < 9; digits++) {
    const decimal = Number(value.toPrecision(digits))
    if (Math.fround(decimal) === value) return decimal
  }
  return Number(value.toPrecision(9))
}

export function optionalString(source: MetadataSource, key: string): string | undefined {
  const value = source.metadata.get(key)?.value
  if (value === undefined) return undefined
  if (value.type !== 'string') throw mistyped(source, key, 'a string')
  return value.value
}

export function optionalBoolean(source: MetadataSource, key: string): boolean | undefined {
  const value = source.metadata.get(key)?.value
  if (value === undefined) return undefined
  if (value.type !== 'bool') throw mistyped(source, key, 'a bool')
  return value.value
}

export function optionalStrings(source: MetadataSource, key: string): readonly string[] | undefined {
  const value = source.metadata.get(key)?.value
  if (value === undefined) return undefined
  if (value.type !== 'array' || value.elementType !== 'string') throw mistyped(source, key, 'an array of strings')
  return value.value
}

export function requiredStrings(source: MetadataSource, key: string): readonly string[] {
  const strings = optionalStrings(source, key)
  if (strings === undefined) throw mistyped(source, key, 'an array of strings')
  return strings
}

/** Numbers of an array, checked to be `length` of them. */
export function optionalNumbers(source: MetadataSource, key: string, length: number): ArrayLike<number> | undefined {
  const value = source.metadata.get(key)?.value
  if (value === undefined) return undefined
  const { value: numbers } = value
  if (
    value.type !== 'array' ||
    value.elementType === 'string' ||
    numbers instanceof BigInt64Array ||
    numbers instanceof BigUint64Array ||
    (numbers as ArrayLike<number>).length !== length
  ) {
    throw mistyped(source, key, `an array of ${length} numbers`)
  }
  return numbers as ArrayLike<number>
}

/**
 * A whole number stored once, or once for each layer with the same value everywhere, as some converters write it.
 * Undefined when the key is absent.
 */
export function optionalUniformInteger(source: MetadataSource, key: string, layers: number): number | undefined {
  if (source.metadata.get(key)?.value.type !== 'array') return optionalInteger(source, key)
  const numbers = optionalNumbers(source, key, layers)
  const first = numbers?.[0]
  if (numbers === undefined || first === undefined) throw mistyped(source, key, `${layers} whole numbers`)
  for (let i = 0; i < numbers.length; i++) {
    if (numbers[i] !== first) {
      throw new CheckpointError(
        `${source.path}: metadata "${key}" is ${first} in layer 0 and ${numbers[i]} in layer ${i}, expected one value for all layers; models with uneven layers are not read from GGUF`,
      )
    }
  }
  if (!Number.isSafeInteger(first) || first < 0) throw mistyped(source, key, `${layers} whole numbers`)
  return first
}

/** Warned of once each: a file's tokenizer is built of the same metadata in several places. */
const warned = new Set<string>()

/**
 * The id that a file names for a purpose. One that is not among its tokens is warned of and ignored, as in llama.cpp: converters
 * write -1, or an id of the vocabulary as it was before.
 */
export function optionalTokenId(source: MetadataSource, key: string): number | undefined {
  const entry = source.metadata.get(key)?.value
  if (entry === undefined) return undefined
  const id = Number(entry.value)
  const tokens = optionalStrings(source, 'tokenizer.ggml.tokens')?.length ?? 2 ** 31
  if (Number.isInteger(id) && id >= 0 && id < tokens) return id
  const message = `${source.path}: metadata "${key}" is ${id}, expected one of the ${tokens} tokens; it is ignored`
  if (!warned.has(message)) process.emitWarning(message)
  warned.add(message)
  return undefined
}
