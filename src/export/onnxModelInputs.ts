import { UnsupportedModelError } from '../errors.ts'
import { elementTypes } from '../format/onnx/encode.ts'
import type { DataName, Environment } from '../graph/graph.ts'
import { distanceBuckets, rotaryTable, sinusoidTable } from '../graph/positionTables.ts'
import { countOf } from '../model/configValue.ts'
import type { PositionBiasForm, RopeForm } from '../model/mathematics.ts'
import type { Model } from '../model/model.ts'
import type { KeyValueCaches } from './onnxCaches.ts'
import type { WeightValues } from './onnxWeights.ts'
import type { OnnxWriter, Precision } from './onnxWriter.ts'

/** Longest table of rotary positions: 128 MiB of cosines for heads of 256. */
export const maxPositions = 2 ** 18

/** What is added to a score that does not count, as in the engine. */
const forbidden = -1e30

/** Which of transformers.js's calls a graph answers. */
export type Side =
  /** Rows of tokens and which of them are padding. */
  | { readonly reads: 'row' }
  /** The next tokens of rows, padded on either side, behind a cache; the mask tells the tokens of both. */
  | { readonly reads: 'past' }
  /** The same behind an encoder: rows are not padded, and the cache alone tells how many tokens there were. */
  | { readonly reads: 'memory'; readonly caches: KeyValueCaches }

/**
 * What a graph reads besides weights and states, written in operators from the inputs that transformers.js gives. T are the
 * positions of this call, P those before it, S = P + T.
 */
export class ModelInputs {
  readonly #writer: OnnxWriter
  readonly #model: Model
  readonly #side: Side
  readonly #tables: Precision
  readonly #ropes: string[] = []

  constructor(writer: OnnxWriter, model: Model, side: Side, tables: Precision) {
    this.#writer = writer
    this.#model = model
    this.#side = side
    this.#tables = tables
  }

  data(name: DataName): string {
    const make: Record<DataName, (() => string) | undefined> = {
      ids: () => this.#ids(),
      tokenTypeIds: () => this.#writer.input(tokens('token_type_ids')),
      paddingBias: () => this.#paddingBias(),
      padding: undefined,
      targets: undefined,
      words: undefined,
      count: undefined,
    }
    const found = make[name]
    if (found === undefined) throw new RangeError(`an exported graph reads no ${name}`)
    return found()
  }

  /** `isFused`: for GroupQueryAttention, which takes the rows of a table itself. */
  environment(of: Environment, isFused: boolean): string {
    return this.#writer.once(`${JSON.stringify(of)}${isFused}`, () => this.#writeEnvironment(of, isFused))
  }

  #writeEnvironment(of: Environment, isFused: boolean): string {
    switch (of.type) {
      case 'rotaryCos':
        return this.#rotary('cos', of.rope, Math.cos, isFused)
      case 'rotarySin':
        return this.#rotary('sin', of.rope, Math.sin, isFused)
      case 'lastPosition':
        return this.#lastPosition()
      case 'length':
        return this.#int32(this.#scalar(this.#total()))
      case 'keyPositions':
        return this.#keyPositions()
      case 'positionIndex':
        return this.#positionIndex(of.offset)
      case 'sinusoids':
        return this.#sinusoids(of.width)
      case 'distanceBuckets':
        return this.#distanceBuckets(of)
      case 'causalMask':
        return this.#causalMask(of.window)
    }
  }

  /** (B,T) int64 */
  #ids(): string {
    return this.#writer.input(tokens('input_ids'))
  }

  /** (B,S) int64: 1 for a token, 0 for padding; of the encoder's tokens where the graph is behind one. */
  #mask(): string {
    const masks = {
      row: tokens('attention_mask'),
      past: tokens('attention_mask', 'total_sequence_length'),
      memory: tokens('encoder_attention_mask', 'encoder_sequence_length'),
    }
    return this.#writer.input(masks[this.#side.reads])
  }

  /** (1) int64: T. */
  #added(): string {
    return this.#lengthOf(this.#ids())
  }

  /** (1) int64: S. */
  #total(): string {
    if (this.#side.reads === 'row') return this.#added()
    if (this.#side.reads === 'past') return this.#lengthOf(this.#mask())
    return this.#write('Add', [this.#side.caches.pastLength('attention'), this.#added()], 'total_length')
  }

  /** (1) int64: P. */
  #past(): string {
    if (this.#side.reads === 'memory') return this.#side.caches.pastLength('attention')
    return this.#write('Sub', [this.#total(), this.#added()], 'past_length')
  }

  /** (S) int64: 0, 1, … */
  #columns(): string {
    return this.#range(this.#writer.int64('zero', [0], []), this.#scalar(this.#total()), 'columns')
  }

  /** (T) int64: P, P + 1, … */
  #rows(): string {
    return this.#range(this.#scalar(this.#past()), this.#scalar(this.#total()), 'rows')
  }

  /** (B,S) int64: how many tokens that are no padding are before each. */
  #counted(): string {
    const writer = this.#writer
    const sums = this.#write('CumSum', [this.#mask(), writer.int64('axis_1', [1], [])], 'mask_sums')
    const before = this.#write('Sub', [sums, writer.int64('one', [1])], 'tokens_before')
    return this.#write('Max', [before, writer.int64('least_position', [0])], 'key_positions')
  }

  /** The position of each token: (T) int64, or (B,T) where rows may begin with padding. */
  #positions(): string {
    if (this.#side.reads !== 'past') return this.#rows()
    const writer = this.#writer
    const end = writer.int64('int64_max', [2n ** 63n - 1n])
    return this.#write('Slice', [this.#counted(), this.#past(), end, writer.int64('axes_1', [1])], 'positions')
  }

  #positionIndex(offset: number): string {
    if (offset === 0) return this.#positions()
    return this.#write('Add', [this.#positions(), this.#writer.int64('position_offset', [offset])], 'position_index')
  }

  /** (S), or (B,1,1,1,S) where rows may begin with padding. */
  #keyPositions(): string {
    if (this.#side.reads !== 'past') return this.#float(this.#columns(), 'key_positions_float')
    const axes = this.#writer.int64('axes_123', [1, 2, 3])
    return this.#float(this.#write('Unsqueeze', [this.#counted(), axes], 'key_positions_wide'), 'key_positions_float')
  }

  /** (P,R/2), every position the model knows, or the rows of these: (B,1,1,T,R/2). */
  #rotary(label: string, rope: RopeForm, wave: (angle: number) => number, isFused: boolean): string {
    const count = Math.min(
      maxPositions,
      countOf(this.#model.config, 'max_position_embeddings', 2048),
      longestRow(rope) ?? maxPositions,
    )
    const half = rope.inverseFrequencies.length
    const precision = isFused ? this.#tables : 'float32'
    const name = `rotary_${label}_${this.#numberOf(rope)}`
    const table = this.#table(name, count, half, () => rotaryTable(rope, count, wave), precision)
    if (isFused) return table
    const rows = this.#write('Gather', [table, this.#positions()], `${table}_rows`)
    return this.#write('Unsqueeze', [rows, this.#writer.int64('axes_12', [1, 2])], `${table}_wide`)
  }

  /** Layers may turn at different speeds. */
  #numberOf(rope: RopeForm): number {
    const key = JSON.stringify(rope)
    if (!this.#ropes.includes(key)) this.#ropes.push(key)
    return this.#ropes.indexOf(key)
  }

  /** (T,D) */
  #sinusoids(width: number): string {
    const count = countOf(this.#model.config, 'max_position_embeddings', 1024)
    const table = this.#table('sinusoids', count, width, () => sinusoidTable(width, count), 'float32')
    return this.#write('Gather', [table, this.#positions()], 'sinusoid_rows')
  }

  /** (1,T,S) int64: from a table of the ranges of key - query, those beyond its ends being those at its ends. */
  #distanceBuckets(form: PositionBiasForm): string {
    const writer = this.#writer
    const far = form.maxDistance
    // ranges of one distance each; behind them, up to `far`, they widen
    const single = Math.floor(form.buckets / (form.bothDirections ? 4 : 2))
    if (far <= single) {
      throw new UnsupportedModelError(
        `${this.#model.id}: config.json: "relative_attention_max_distance" is ${far}, expected more than the ${single} distances that have a range of their own; export to huggingface`,
      )
    }
    const middle = far * (2 * far + 1)
    const ranges = distanceBuckets(form, 2 * far + 1).subarray(middle, middle + 2 * far + 1)
    const queries = this.#write('Unsqueeze', [this.#rows(), writer.int64('axes_1', [1])], 'query_column') // (T,1)
    const distance = this.#write('Sub', [this.#columns(), queries], 'distance') // (T,S)
    const nearest = [writer.int64('least_distance', [-far], []), writer.int64('largest_distance', [far], [])]
    const clipped = this.#write('Clip', [distance, ...nearest], 'clipped_distance')
    const place = this.#write('Add', [clipped, writer.int64('largest_distance', [far], [])], 'range_place')
    const found = this.#write('Gather', [writer.int64('distance_ranges', [...ranges]), place], 'ranges')
    return this.#write('Unsqueeze', [found, writer.int64('axes_0', [0])], 'ranges_wide')
  }

  /** (T,S), or (B,1,1,T,S) where rows may be padded: 0 for a key that the query may see. */
  #causalMask(window: number | undefined): string {
    const writer = this.#writer
    const label = `mask_${window ?? 'all'}`
    const queries = this.#write('Unsqueeze', [this.#rows(), writer.int64('axes_1', [1])], 'query_column') // (T,1)
    let seen = this.#write('LessOrEqual', [this.#columns(), queries], 'not_later') // (T,S)
    if (window !== undefined) {
      const before = writer.node('Sub', [queries, writer.int64(`window_${window}`, [window])], `${label}_before`)
      const near = writer.node('Greater', [this.#columns(), before], `${label}_near`)
      seen = writer.node('And', [seen, near], `${label}_seen`)
    }
    if (this.#side.reads === 'past') {
      const axes = writer.int64('axes_123', [1, 2, 3])
      const isToken = this.#write('Unsqueeze', [this.#isToken(), axes], 'is_token_wide') // (B,1,1,1,S)
      seen = writer.node('And', [seen, isToken], `${label}_tokens`)
    }
    return this.#bias(seen, label)
  }

  /** (B,1,1,S) */
  #paddingBias(): string {
    return this.#writer.once('padding_bias', () => {
      const wide = this.#write('Unsqueeze', [this.#isToken(), this.#writer.int64('axes_12', [1, 2])], 'is_token_wide')
      return this.#bias(wide, 'padding_bias')
    })
  }

  #isToken(): string {
    return this.#write('Cast', [this.#mask()], 'is_token', { to: { int: elementTypes.bool } })
  }

  /** 0 where `seen`, a large negative number elsewhere. */
  #bias(seen: string, output: string): string {
    const zero = this.#writer.float32('zero_bias', [0], [])
    return this.#writer.node('Where', [seen, zero, this.#writer.float32('forbidden', [forbidden], [])], output)
  }

  /** (B) int32: tokens of each row that are not padding, less one. */
  #lastPosition(): string {
    const writer = this.#writer
    const inputs = [this.#mask(), writer.int64('axes_1', [1])]
    const sum = writer.node('ReduceSum', inputs, 'mask_sum', { keepdims: { int: 0 } })
    return this.#int32(writer.node('Sub', [sum, writer.int64('one', [1])], 'last_position'))
  }

  #table(name: string, count: number, width: number, make: () => Float32Array<ArrayBuffer>, precision: Precision) {
    const values: WeightValues = { name, dims: [count, width], read: async () => make() }
    return this.#writer.weight(values, precision)
  }

  /** (1) int64: the second dimension of an input. */
  #lengthOf(input: string): string {
    return this.#write('Shape', [input], `${input}_length`, { start: { int: 1 }, end: { int: 2 } })
  }

  /** (1) → () */
  #scalar(value: string): string {
    return this.#write('Squeeze', [value], `${value}_scalar`)
  }

  #int32(value: string): string {
    return this.#write('Cast', [value], `${value}_int32`, { to: { int: elementTypes.int32 } })
  }

  #float(value: string, output: string): string {
    return this.#write('Cast', [value], output, { to: { int: elementTypes.float32 } })
  }

  #range(start: string, end: string, output: string): string {
    return this.#write('Range', [start, end, this.#writer.int64('step', [1], [])], output)
  }

  #write(type: string, inputs: readonly string[], output: string, attributes?: Parameters<OnnxWriter['node']>[3]) {
    return this.#writer.once(output, () => this.#writer.node(type, inputs, output, attributes))
  }
}

/**
 * Tokens of a row beyond which other frequencies hold (LongRoPE, dynamic NTK), where a table ends: a graph cannot turn back what
 * it has in its cache. Longer rows fail at run time, which names the table.
 */
export function longestRow({ long, dynamic }: RopeForm): number | undefined {
  return long?.beyond ?? dynamic?.beyond
}

const tokens = (name: string, length = 'sequence_length') =>
  ({ name, type: 'int64', dims: ['batch_size', length] }) as const
