import { CalibrationError } from '../errors.ts'
import type { Model } from '../model/model.ts'
import type { Task } from '../model/task.ts'
import { type PackedRows, packRows } from './calibration.ts'
import { readColumns } from './columns.ts'
import { framedRows } from './framedRows.ts'
import { specialTokenId } from './framing.ts'
import { labelledRows } from './labelledRows.ts'
import { maskedRows } from './maskedRows.ts'
import { type NextTokenRowsRequest, nextTokenRows } from './nextTokenRows.ts'
import { pairRows } from './pairRows.ts'
import { spanRows } from './spanRows.ts'
import type { Table } from './table.ts'
import { readTexts } from './textSource.ts'
import { loadTokenizer, type Tokenizer } from './tokenizer.ts'

/** Where the rows of a task come from, how many and how long; of pairs and labelled texts, how long at most. */
export interface TaskRowsRequest extends NextTokenRowsRequest {
  /** Column of a pair's target; default `target`. */
  readonly targetColumn?: string | undefined
  /** Column of a label; default `label`. */
  readonly labelColumn?: string | undefined
}

/**
 * The rows on which `model` is scored by `task`. Throws `CalibrationError` when there is too little text, or a special token, a
 * column or a label is missing.
 */
export async function taskRows(task: Task, model: Model, request: TaskRowsRequest): Promise<PackedRows> {
  const tokenizer = await loadTokenizer(model.assets, model.sizes['V']!)
  return makers[task]({ model, tokenizer, request, size: sizeOf(request) })
}

interface Making {
  readonly model: Model
  readonly tokenizer: Tokenizer
  readonly request: TaskRowsRequest
  readonly size: { readonly rowLength: number; readonly rows?: number }
}

const makers: Record<Task, (making: Making) => Promise<PackedRows>> = {
  nextToken: ({ model, tokenizer, request }) => nextTokenRows(model, tokenizer, request),
  async hiddenStates(making) {
    const { model, tokenizer, request, size } = making
    const { family } = model.architecture
    if (family === 'encoder') return framed(making)
    if (family === 'decoder') {
      const { targets: _, ...rows } = await makers.nextToken(making)
      return rows
    }
    return readTwice(packRows(await textsOf(request), tokenizer, size), model)
  },
  async maskedToken(making) {
    const { model, tokenizer, request } = making
    return maskedRows(await framed(making), {
      maskTokenId: specialTokenId(tokenizer, '[MASK]', '<mask>'),
      vocabSize: model.sizes['V']!,
      seed: request.seed,
    })
  },
  async rowClass({ model, tokenizer, request }) {
    const { column = 'text', labelColumn = 'label' } = request
    const table = await readColumns(
      request.dataset,
      { '--column': column, '--label-column': labelColumn },
      request.rows,
    )
    return labelledRows(
      table.rows.map((row, index) => ({ text: stringOf(table, index, column), label: row[labelColumn] })),
      tokenizer,
      {
        source: table.name,
        config: model.config,
        classes: model.sizes['C']!,
        padTokenId: tokenIdOf(model, 'pad_token_id'),
        rowLength: request.rowLength,
      },
    )
  },
  async spanCorruption({ model, tokenizer, request, size }) {
    const packed = packRows(await textsOf(request), { ...tokenizer, addsBos: false }, size)
    return spanRows(packed, {
      sentinelIds: sentinelsOf(tokenizer, request.rowLength),
      eosTokenId: tokenIdOf(model, 'eos_token_id'),
      decoderStartTokenId: tokenIdOf(model, 'decoder_start_token_id'),
      seed: request.seed,
    })
  },
  async pairs({ model, tokenizer, request }) {
    const { column = 'source', targetColumn = 'target' } = request
    const table = await readColumns(
      request.dataset,
      { '--column': column, '--target-column': targetColumn },
      request.rows,
    )
    return pairRows(
      table.rows.map((_, index) => [stringOf(table, index, column), stringOf(table, index, targetColumn)] as const),
      tokenizer,
      {
        source: table.name,
        eosTokenId: tokenIdOf(model, 'eos_token_id'),
        padTokenId: tokenIdOf(model, 'pad_token_id'),
        decoderStartTokenId: tokenIdOf(model, 'decoder_start_token_id'),
        rowLength: request.rowLength,
      },
    )
  },
}

async function framed({ tokenizer, request, size }: Making) {
  return framedRows(await textsOf(request), tokenizer, size)
}

/** Rows that the decoder reads as well, behind its start token: states are compared, and nothing is predicted. */
export function readTwice(packed: PackedRows, model: Model): PackedRows {
  const { ids, rows, rowLength } = packed
  const decoderStartTokenId = tokenIdOf(model, 'decoder_start_token_id')
  const inputs = Int32Array.from(ids, (_, i) => (i % rowLength === 0 ? decoderStartTokenId : ids[i - 1]!))
  return { ...packed, decoder: { ids: inputs, rows, rowLength } }
}

const textsOf = ({ dataset, column }: TaskRowsRequest) => readTexts(dataset, column === undefined ? {} : { column })

const sizeOf = ({ rowLength, rows }: TaskRowsRequest) => ({ rowLength, ...(rows !== undefined && { rows }) })

function stringOf({ name, rows, place }: Table, index: number, column: string): string {
  const value = rows[index]![column]
  if (typeof value === 'string') return value
  throw new CalibrationError(
    `${name}: ${place(index)} has ${JSON.stringify(value)} in "${column}", expected a text; name another column`,
  )
}

/** A token id of config.json. */
function tokenIdOf({ id, config, sizes }: Model, key: string): number {
  const value = config[key]
  if (typeof value === 'number' && Number.isInteger(value) && value >= 0 && value < sizes['V']!) return value
  throw new CalibrationError(
    `${id}: config.json: "${key}" is ${JSON.stringify(value)}, expected a token id; add it to config.json`,
  )
}

/** T5's sentinels in order, as many as rows of `rowLength` tokens can need. Throws `CalibrationError` when there is none. */
function sentinelsOf(tokenizer: Tokenizer, rowLength: number): number[] {
  const first = sentinelId(tokenizer, 0)
  if (first === undefined) {
    throw new CalibrationError(
      'tokenizer.json: has no token <extra_id_0>, so spans cannot be cut out; give pairs of texts with --task pairs --dataset FILE, or score by --task hiddenStates',
    )
  }
  const sentinels = [first]
  for (let next = sentinelId(tokenizer, 1); next !== undefined && sentinels.length < rowLength; ) {
    sentinels.push(next)
    next = sentinelId(tokenizer, sentinels.length)
  }
  return sentinels
}

function sentinelId(tokenizer: Tokenizer, number: number): number | undefined {
  const text = `<extra_id_${number}>`
  const ids = tokenizer.encode(text)
  return ids.length === 1 && tokenizer.decode(ids).trim() === text ? ids[0] : undefined
}
