import type { PositionBiasForm, RopeForm } from '../model/mathematics.ts'
import { type Dims, type Letters, newLetters } from './dimensions.ts'
import type { ElementType, Node, Operation, OperationAttributes, Value } from './operations.ts'
import { shapeOfResult } from './shapes.ts'

/** Where a graph's input comes from. The engine feeds, and an export wires, each kind in its own way. */
export type InputSource =
  /** A weight of the block, by the role its architecture table gives it. */
  | { readonly from: 'weight'; readonly role: string }
  /** A tensor that flows from stage to stage: `hidden` (B,T,D), `memory` (B,S,D), `positionBias` (1,K,T,T). */
  | { readonly from: 'state'; readonly name: string }
  /** Numbers that the family fixes, such as the slopes of ALiBi: cut by units as a weight with these axes is. */
  | { readonly from: 'constant'; readonly axes: string; readonly values: readonly number[] }
  /** A tensor that depends on the batch's shape only. */
  | { readonly from: 'environment'; readonly of: Environment }
  /** Token ids, targets, or which of an encoder's tokens are padding. */
  | { readonly from: 'data'; readonly name: DataName }
  /** The gradient of the value `of` of the graph that this one differentiates. */
  | { readonly from: 'gradient'; readonly of: string }
  /** What a block, or each of its units, is multiplied by in each row: (B), (B,K) or (B,F). Ones leave the block as it is. */
  | { readonly from: 'gate'; readonly on: Gate }
  /** Keys or values of the positions before these, (B,K,P,E). Only a graph for export reads them. */
  | { readonly from: 'cache'; readonly part: CachePart }

export type CachePart = 'key' | 'value'

/** The branch before it is added to the stream, or what enters its output matrix. */
export type Gate = 'block' | 'unit'

export type DataName =
  /** (B,T) and (N) int64 */
  | ('ids' | 'targets')
  /** (B,T) int64: rows of the table of token types */
  | 'tokenTypeIds'
  /** (N,W) int64: words to tell the probability of; (1) int64: how many words to find */
  | ('words' | 'count')
  /** (B,S) int32: 1 for a token, 0 for padding */
  | 'padding'
  /** (B,1,1,S): 0 for a token, a large negative number for padding */
  | 'paddingBias'

/** Tensors made from the numbers of rows B and tokens T alone. */
export type Environment =
  /** (T,R/2) cosines or sines of position · frequency */
  | { readonly type: 'rotaryCos' | 'rotarySin'; readonly rope: RopeForm }
  /** (B) int32: T-1, the last position of each row */
  | { readonly type: 'lastPosition' }
  /** () int32: T */
  | { readonly type: 'length' }
  /** (T): 0, 1, … T-1 */
  | { readonly type: 'keyPositions' }
  /** (T) int64: `offset`, `offset` + 1, …: rows of a table of learned positions */
  | { readonly type: 'positionIndex'; readonly offset: number }
  /** (T,D): sin(t · f) in the first half, cos(t · f) in the second, f = 10000^(-2i/D) */
  | { readonly type: 'sinusoids'; readonly width: number }
  /** (1,T,T) int64: the range of distances that key - query falls into */
  | ({ readonly type: 'distanceBuckets' } & PositionBiasForm)
  /** (T,T): 0 where attention may look, a large negative number elsewhere */
  | { readonly type: 'causalMask'; readonly window: number | undefined }

export interface GraphInput {
  readonly value: Value
  readonly source: InputSource
}

/** A whole branch, or what enters its output matrix, (B,T,C): the heads' outputs side by side, or the intermediate channels. */
export type BranchPart = 'whole' | 'channels'

/** A part of a model as data: inputs, operations in order, outputs. */
export interface Graph {
  readonly name: string
  readonly inputs: readonly GraphInput[]
  readonly nodes: readonly Node[]
  /** The result, and behind it what is to be kept for the positions that follow. */
  readonly outputs: readonly GraphOutput[]
}

export interface GraphOutput {
  readonly value: Value
  readonly cache?: CachePart
  /** Of a table's gradient (…,D): the rows (…) that these are to be added to. */
  readonly rows?: Value
}

/**
 * Writes a graph operation by operation. Every method returns the new value; `apply` throws a `RangeError` where the operation
 * does not take these inputs.
 */
export interface GraphBuilder {
  weight(role: string, dims: Dims): Value
  state(name: string, dims: Dims): Value
  constant(name: string, axes: string, values: readonly number[], dims: Dims, type?: 'float32' | 'int64'): Value
  environment(of: Environment, dims: Dims): Value
  data(name: DataName, dims: Dims): Value
  /** One for each row, and each of its units where there are several: (B), (B,K), (B,F). */
  gate(on: Gate, dims: Dims): Value
  /** An input of another graph. */
  read(input: GraphInput): Value
  /** The gradient of `x`, an input shaped as it. */
  gradientOf(x: Value): Value
  /** x (B,K,T,E) behind the `part` of the positions before, (B,K,P,E) → (B,K,P+T,E), which is an output too. */
  remember(part: CachePart, x: Value): Value
  apply<Op extends Operation>(op: Op, inputs: readonly Value[], attributes: OperationAttributes[Op]): Value
  finish(outputs: readonly Value[]): Graph
  /** The graph of these outputs, without what they don't need. */
  finishWith(outputs: readonly GraphOutput[]): Graph
  /** What the letters of the graph stand for so far. */
  readonly letters: Letters
}

const environmentTypes: Record<Environment['type'], ElementType> = {
  rotaryCos: 'float32',
  rotarySin: 'float32',
  lastPosition: 'int32',
  length: 'int32',
  keyPositions: 'float32',
  positionIndex: 'int64',
  sinusoids: 'float32',
  distanceBuckets: 'int64',
  causalMask: 'float32',
}

const dataTypes: Record<DataName, ElementType> = {
  ids: 'int64',
  targets: 'int64',
  tokenTypeIds: 'int64',
  words: 'int64',
  count: 'int64',
  padding: 'int32',
  paddingBias: 'float32',
}

/** A builder for the graph called `name`. */
export function buildGraph(name: string): GraphBuilder {
  const letters = newLetters()
  const inputs: GraphInput[] = []
  const nodes: Node[] = []
  const remembered: GraphOutput[] = []
  const input = (type: ElementType, dims: Dims, source: InputSource, inputName: string): Value => {
    const known = inputs.find(({ value }) => value.name === inputName)
    if (known !== undefined) {
      if (letters.allAgree(known.value.dims, dims)) return known.value
      throw new RangeError(
        `${name}: ${inputName} is read as (${dims}) and as (${known.value.dims}), expected one shape`,
      )
    }
    const value = { name: inputName, type, dims }
    inputs.push({ value, source })
    return value
  }
  const apply: GraphBuilder['apply'] = (op, inputValues, attributes) => {
    const shape = shapeOfResult(name, op, inputValues, attributes, letters)
    const output = { name: `${op}_${nodes.length}`, ...shape }
    nodes.push({ op, inputs: inputValues, output, attributes } as unknown as Node)
    return output
  }
  return {
    weight: (role, dims) => input('float32', dims, { from: 'weight', role }, role),
    state: (state, dims) => input('float32', dims, { from: 'state', name: state }, state),
    constant: (constant, axes, values, dims, type = 'float32') =>
      input(type, dims, { from: 'constant', axes, values }, constant),
    environment: (of, dims) => input(environmentTypes[of.type], dims, { from: 'environment', of }, of.type),
    data: (data, dims) => input(dataTypes[data], dims, { from: 'data', name: data }, data),
    gate: (on, dims) => input('float32', dims, { from: 'gate', on }, `${on}Gate`),
    read: ({ value: { name, type, dims }, source }) => input(type, dims, source, name),
    gradientOf: ({ name, dims }) => input('float32', dims, { from: 'gradient', of: name }, `${name}Gradient`),
    remember(part, x) {
      const past = input('float32', ['B', 'K', 'P', 'E'], { from: 'cache', part }, `${part}Cache`)
      const value = apply('concat', [past, x], { axis: 2 })
      remembered.push({ value, cache: part })
      return value
    },
    apply,
    finish: (outputs) => ({
      name,
      inputs,
      nodes,
      outputs: [...outputs.map((value) => ({ value })), ...remembered],
    }),
    finishWith: (outputs) => needed({ name, inputs, nodes, outputs }),
    letters,
  }
}

/** The same graph without the nodes and inputs that its outputs don't need. */
function needed({ name, inputs, nodes, outputs }: Graph): Graph {
  const used = new Set(outputs.flatMap(({ value, rows }) => [value.name, ...(rows ? [rows.name] : [])]))
  const kept = nodes.toReversed().filter(({ inputs: read, output }) => {
    if (!used.has(output.name)) return false
    for (const { name: value } of read) used.add(value)
    return true
  })
  return { name, inputs: inputs.filter(({ value }) => used.has(value.name)), nodes: kept.reverse(), outputs }
}
