import type { Dims, Letters } from './dimensions.ts'
import type { ElementType, Value } from './operations.ts'

/** Type and dimensions of a tensor. */
export type Shape = Pick<Value, 'type' | 'dims'>

interface Pattern {
  readonly type: ElementType | 'any'
  readonly isOptional: boolean
  /** Whether any axes may stand before `dims`, the same wherever the signature has them. */
  readonly hasMore: boolean
  readonly dims: readonly string[]
}

interface Signature {
  readonly operands: readonly Pattern[]
  readonly result: Pattern
}

/**
 * The result of operands that fit `text`, such as `table (V,D), int64 ids (…) → (…,D)`: one letter is one size, `8*E` a multiple
 * of 8, `…` any axes, a name with `?` may be missing, tensors are float32 unless the type stands before them (`any`: one type).
 * Undefined where they don't fit.
 */
export function resultOf(text: string, operands: readonly Shape[], letters: Letters): Shape | undefined {
  const { operands: patterns, result } = parse(text)
  if (operands.length > patterns.length) return undefined
  const known: Known = { letters, dims: new Map(), more: undefined, type: undefined }
  for (const [i, pattern] of patterns.entries()) {
    const operand = operands[i]
    if (operand === undefined ? !pattern.isOptional : !fits(pattern, operand, known)) return undefined
  }
  const dims = result.dims.map((dim) => known.dims.get(dim) ?? (/^\d+$/.test(dim) ? Number(dim) : dim))
  const type = result.type === 'any' ? known.type! : result.type
  return { type, dims: result.hasMore ? [...known.more!, ...dims] : dims }
}

interface Known {
  readonly letters: Letters
  readonly dims: Map<string, string | number>
  more: Dims | undefined
  type: ElementType | undefined
}

function fits({ type, hasMore, dims: pattern }: Pattern, operand: Shape, known: Known): boolean {
  if (type === 'any') known.type ??= operand.type
  if (operand.type !== (type === 'any' ? known.type : type)) return false
  const extra = operand.dims.length - pattern.length
  if (hasMore ? extra < 0 : extra !== 0) return false
  if (hasMore) {
    known.more ??= operand.dims.slice(0, extra)
    if (!known.letters.allAgree(operand.dims.slice(0, extra), known.more)) return false
  }
  return pattern.every((name, i) => fitsDimension(name, operand.dims[extra + i]!, known))
}

function fitsDimension(name: string, dim: string | number, known: Known): boolean {
  const { letters, dims } = known
  if (/^\d+$/.test(name)) return letters.agree(dim, Number(name))
  const [factor, letter] = name.includes('*') ? name.split('*') : [undefined, name]
  const size = letters.sizeOf(dim)
  if (!dims.has(name)) dims.set(name, dim)
  if (factor !== undefined) {
    // two letters may be the same multiple: `Q` and `KV` are 8*E where each head has its own keys
    const part = typeof size === 'number' ? size / Number(factor) : undefined
    return part === undefined || (Number.isInteger(part) && fitsDimension(letter!, part, known))
  }
  return letters.agree(dims.get(name)!, dim)
}

const parsed = new Map<string, Signature>()

function parse(text: string): Signature {
  const known = parsed.get(text)
  if (known !== undefined) return known
  const [left, right] = text.split(' → ') as [string, string]
  const operands = [...left.matchAll(/(?:(int32|int64|any) )?\w+(\?)? \(([^)]*)\)/g)]
  const [result] = [...right.matchAll(/^(?:(int32|int64|any) )?()\(([^)]*)\)$/g)]
  if (operands.length === 0 || result === undefined) throw new RangeError(`"${text}" is no signature of an operation`)
  const signature = { operands: operands.map(patternOf), result: patternOf(result) }
  parsed.set(text, signature)
  return signature
}

function patternOf([, type = 'float32', optional, axes = '']: RegExpMatchArray): Pattern {
  const dims = axes === '' ? [] : axes.split(',')
  const hasMore = dims[0] === '…'
  return { type: type as Pattern['type'], isOptional: optional === '?', hasMore, dims: hasMore ? dims.slice(1) : dims }
}
