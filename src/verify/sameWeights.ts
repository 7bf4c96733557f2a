import { OutputError } from '../errors.ts'
import { dequantize } from '../format/gguf/dequantize.ts'
import { ggmlTypes } from '../format/gguf/ggmlType.ts'
import { type EncodableType, isEncodable, quantize } from '../format/gguf/writeQuantized.ts'
import { isGgufPath } from '../model/gguf/open.ts'
import type { Model } from '../model/model.ts'
import type { Block, StoredType, WeightTable } from '../types.ts'

/** How the weights of an export compare with those that its plan leaves. */
export interface WeightsCompared {
  /** Name of a tensor of the plan's model → its name in the export. */
  readonly names: ReadonlyMap<string, string>
  /** Tensors that hold the very values. */
  readonly equal: number
  /** Tensors that hold them rounded to the type they are stored as, exactly. */
  readonly rounded: number
  /** Tensors of a type that this package does not write, near the values. */
  readonly near: number
}

/**
 * Most that values may differ where a type is read but not written here, as root mean square over that of the values. The types
 * round normal numbers to 0.0061 (Q6_K), 0.013 (Q5_1) and 0.028 (Q4_1) by the width of their steps; weights have longer tails.
 */
const nearestError: Readonly<Partial<Record<StoredType, number>>> = { Q6_K: 0.03, Q5_0: 0.08, Q5_1: 0.08, Q5_K: 0.08 }
const coarsestError = 0.15

/**
 * Compares `found`, an export as our own reader opens it, with `expected`, the dense model without what the plan removes: first the
 * blocks and their widths, then every weight, which must hold the values or what rounding to its stored type makes of them. One
 * tensor of each is in memory at a time. Throws `OutputError` for `path` that names the first difference.
 */
export async function compareWeights(path: string, expected: Model, found: Model): Promise<WeightsCompared> {
  checkStructure(path, expected, found)
  const names = new Map<string, string>()
  pair(path, names, expected.outer, found.outer, 'the model')
  for (const [i, block] of [...expected.blocks, ...expected.bareNorms].entries()) {
    const other = [...found.blocks, ...found.bareNorms][i]!
    pair(path, names, block.weights, other.weights, nameOf(block, other))
  }
  const counts = { equal: 0, rounded: 0, near: 0 }
  for (const [name, stored] of names) counts[await compareTensor(path, expected, found, name, stored)]++
  if (isGgufPath(path)) await checkStubs(path, found, new Set(names.values()))
  return { names, ...counts }
}

/** Blocks that stand in a GGUF file because llama.cpp wants something there are zeros behind a norm of ones. */
async function checkStubs(path: string, { weights }: Model, compared: ReadonlySet<string>): Promise<void> {
  for (const name of weights.tensors.keys()) {
    if (compared.has(name)) continue
    const values = await weights.read(name)
    const only = /norm\.weight$/.test(name) ? 1 : 0
    const wrong = values.findIndex((value) => value !== only)
    if (wrong === -1) continue
    throw new OutputError(
      `${path}: "${name}" is no weight of the plan, expected ${only} in every place, found ${values[wrong]} at ${wrong}; the file is damaged or of another model, export it anew`,
    )
  }
}

function checkStructure(path: string, expected: Model, found: Model): void {
  const refuse = (what: string): never => {
    throw new OutputError(`${path}: ${what}; it was made of another plan or model, export it anew`)
  }
  const counts = (model: Model) => {
    const kinds = [...new Set(model.blocks.map(({ stack, kind }) => `${stack} ${kind}`))]
    return kinds
      .map((kind) => `${model.blocks.filter((b) => `${b.stack} ${b.kind}` === kind).length} ${kind}`)
      .join(', ')
  }
  for (const part of ['blocks', 'bareNorms'] as const) {
    const kindsOf = (model: Model) => model[part].map(({ stack, kind }) => `${stack} ${kind}`)
    const [wanted, has] = [kindsOf(expected), kindsOf(found)]
    if (wanted.length !== has.length || wanted.some((kind, i) => kind !== has[i])) {
      const first = wanted.findIndex((kind, i) => kind !== has[i])
      refuse(
        `has ${found.blocks.length} blocks (${counts(found)}), the plan leaves ${expected.blocks.length} (${counts(expected)})` +
          (wanted.length === has.length ? `, in another order from block ${first} on` : ''),
      )
    }
  }
  for (const [i, block] of expected.blocks.entries()) {
    const other = found.blocks[i]!
    if (block.units === other.units) continue
    const unit = block.kind === 'mlp' ? 'channels' : 'key/value heads'
    refuse(`${nameOf(block, other)} has ${other.units} ${unit}, the plan leaves ${block.units}`)
  }
}

/** A block by its number in the export and in the dense model. */
const nameOf = (expected: Block, found: Block): string =>
  expected.id === found.id ? found.id : `${found.id} (${expected.id} of the dense model)`

/** Adds the tensors of two tables with the same roles. A head that is tied in one of them is the table of words. */
function pair(path: string, names: Map<string, string>, expected: WeightTable, found: WeightTable, where: string) {
  for (const role of new Set([...Object.keys(expected), ...Object.keys(found)])) {
    const tied = role === 'lmHead' ? 'embedTokens' : role
    const [name] = expected[role] ?? expected[tied] ?? []
    const [stored] = found[role] ?? found[tied] ?? []
    // what the layers of a stack shared goes with the last of them
    if (name !== undefined && stored === undefined && where === 'the model') continue
    if (name === undefined || stored === undefined) {
      const [has, lacks] = name === undefined ? ['the export', 'the plan'] : ['the plan', 'the export']
      throw new OutputError(`${path}: ${where}: ${has} has a weight "${role}" that ${lacks} has not; export it anew`)
    }
    if (!names.has(name)) names.set(name, stored)
  }
}

async function compareTensor(
  path: string,
  expected: Model,
  found: Model,
  name: string,
  stored: string,
): Promise<'equal' | 'rounded' | 'near'> {
  const { type, shape } = found.weights.tensors.get(stored)!
  const wanted = expected.weights.tensors.get(name)?.shape ?? []
  if (wanted.join() !== shape.join()) {
    throw new OutputError(`${path}: "${stored}" has shape [${shape}], the plan leaves [${wanted}]; export it anew`)
  }
  const [values, others] = [await expected.weights.read(name), await found.weights.read(stored)]
  if (differences(values, others) === 0) return 'equal'
  const rounded = isWritten(type) && roundedTo(type, values, shape)
  if (rounded) {
    const wrong = differences(rounded, others)
    if (wrong === 0) return 'rounded'
    throw new OutputError(
      `${path}: "${stored}" (${type}): ${wrong} of ${values.length} weights are not those of the plan; the file is damaged or of another model, export it anew`,
    )
  }
  const [error, limit] = [relativeError(values, others), nearestError[type] ?? coarsestError]
  if (error <= limit) return 'near'
  throw new OutputError(
    `${path}: "${stored}" (${type}) differs from the plan's by ${error.toPrecision(2)} of its size, expected at most ${limit}; the file is damaged or of another model, export it anew`,
  )
}

const isWritten = (type: StoredType): type is EncodableType => type in ggmlTypes && isEncodable(type as EncodableType)

/** What is read of `values` after they were stored as `type`; undefined where rows are no whole blocks. */
function roundedTo(type: EncodableType, values: Float32Array, shape: readonly number[]): Float32Array | undefined {
  if ((shape.at(-1) ?? 1) % ggmlTypes[type].blockValues !== 0) return undefined
  const result = new Float32Array(values.length)
  dequantize(type, quantize(type, values), result)
  return result
}

/** Values that differ; zeros of either sign are the same, and so are NaN. */
function differences(a: Float32Array, b: Float32Array): number {
  let count = 0
  for (let i = 0; i < a.length; i++) if (a[i] !== b[i] && !(Number.isNaN(a[i]) && Number.isNaN(b[i]))) count++
  return count
}

function relativeError(values: Float32Array, others: Float32Array): number {
  let [error, size] = [0, 0]
  for (let i = 0; i < values.length; i++) {
    error += (values[i]! - others[i]!) ** 2
    size += values[i]! ** 2
  }
  return Math.sqrt(error / size)
}
