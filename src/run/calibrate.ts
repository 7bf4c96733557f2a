import { type PackedRows, readTokens } from '../data/calibration.ts'
import type { LossOn } from '../data/conversationRows.ts'
import { sentenceRows } from '../data/sentenceRows.ts'
import { readTwice, taskRows } from '../data/taskRows.ts'
import { readTexts } from '../data/textSource.ts'
import { loadTokenizer } from '../data/tokenizer.ts'
import { CalibrationError } from '../errors.ts'
import type { Sentences } from '../evaluate/embeddings.ts'
import { sentencePoolingOf } from '../evaluate/sentencePooling.ts'
import type { Model } from '../model/model.ts'
import { type Task, tasksOf } from '../model/task.ts'
import { trainedPositions } from '../model/trainedPositions.ts'

/** Where rows of tokens come from and how many. */
export interface RowsRequest {
  /** A file, a data set id or `embedded`. */
  readonly dataset: string
  /** Ready token ids instead of a text: a JSON file `{"ids": [...]}`. */
  readonly tokens?: string | undefined
  readonly column?: string | undefined
  /** Rows; undefined: as many as the text fills. */
  readonly nsamples?: number | undefined
  /** Tokens a row. */
  readonly seqlen: number
  /** Draw this many texts with `seed` and pack only those. */
  readonly texts?: number | undefined
  readonly seed: number
  readonly bosEveryRow?: boolean | undefined
  /** Of conversations: what the loss counts; default all. */
  readonly lossOn?: LossOn | undefined
  /** What the model is scored by; default the first of `tasksOf(model)`. */
  readonly task?: Task | undefined
  /** Columns of pairs and of labelled texts. */
  readonly targetColumn?: string | undefined
  readonly labelColumn?: string | undefined
  /** Told of what makes the losses of these rows mean less than they seem to. */
  readonly onWarning?: ((message: string) => void) | undefined
}

/**
 * Rows of tokens for `model` and its task. Throws `CalibrationError` when there is not enough text, an id the model lacks, or a task it
 * cannot be scored by.
 */
export async function readRows(model: Model, request: RowsRequest): Promise<PackedRows> {
  const rows = await rowsOf(model, request)
  const longest = trainedPositions(model)
  const length = Math.max(rows.rowLength, rows.decoder?.rowLength ?? 0)
  if (longest !== undefined && length > longest) {
    request.onWarning?.(
      `rows of ${length} tokens are longer than the ${longest} positions that ${model.id} was trained on: losses beyond those say little; give --seqlen ${longest} or less`,
    )
  }
  return rows
}

async function rowsOf(model: Model, request: RowsRequest): Promise<PackedRows> {
  const { nsamples, seqlen: rowLength, dataset, tokens, texts, bosEveryRow, lossOn } = request
  const task = taskOf(model, request.task)
  refuseForeignOptions(model, task, request)
  if (rowLength < 2 && task === 'nextToken') {
    throw new CalibrationError(`--seqlen ${rowLength}: leaves no token to predict, expected rows of at least 2 tokens`)
  }
  if (tokens !== undefined) {
    const size = { rowLength, ...(nsamples !== undefined && { rows: nsamples }) }
    const rows = await readTokens(tokens, model.sizes['V']!, size)
    return model.architecture.family === 'encoderDecoder' ? readTwice(rows, model) : rows
  }
  const { column, targetColumn, labelColumn, seed } = request
  return taskRows(task, model, {
    ...{ dataset, column, targetColumn, labelColumn, rows: nsamples, rowLength, texts, seed, bosEveryRow, lossOn },
  })
}

/** Options that only some tasks have. */
function refuseForeignOptions(model: Model, task: Task, { tokens, texts, lossOn }: RowsRequest): void {
  if (tokens !== undefined && task !== 'nextToken' && task !== 'hiddenStates') {
    throw new CalibrationError(
      `--tokens: ids can be scored by nextToken or hiddenStates, but ${model.id} is scored by ${task}; give --dataset, or --task hiddenStates`,
    )
  }
  if (task === 'nextToken') return
  if (lossOn === 'answers') {
    throw new CalibrationError(
      `--loss-on answers: is for models that predict the next token, but ${model.id} is scored by ${task}; leave it out`,
    )
  }
  if (texts !== undefined && !(task === 'hiddenStates' && model.architecture.family === 'decoder')) {
    throw new CalibrationError(
      `--texts: is for models that predict the next token, but ${model.id} is scored by ${task}; give --nsamples`,
    )
  }
}

/** Sentences that embeddings are compared on, whatever the number of rows asked for. */
const comparedSentences = 300

/** Sentences of the text that `request` names, where `model` is an encoder scored by its hidden states. */
export async function readSentences(model: Model, request: RowsRequest): Promise<Sentences | undefined> {
  if (model.architecture.family !== 'encoder' || taskOf(model, request.task) !== 'hiddenStates') return undefined
  if (request.tokens !== undefined) return undefined
  const source = await readTexts(request.dataset, request.column === undefined ? {} : { column: request.column })
  const tokenizer = await loadTokenizer(model.assets, model.sizes['V']!)
  const pad = model.config['pad_token_id']
  const pooling = await sentencePoolingOf(model)
  const batches = sentenceRows(source, tokenizer, {
    sentences: comparedSentences,
    // attention does not see it: any token will do
    padTokenId: typeof pad === 'number' && pad >= 0 ? pad : 0,
    rowLength: request.seqlen,
  })
  return { batches, pooling }
}

/** `asked`, or the task to score `model` by when none is asked for. Throws `CalibrationError` for a task it has no head for. */
export function taskOf(model: Model, asked?: Task): Task {
  const tasks = tasksOf(model)
  const task = asked ?? tasks[0]
  if (task !== undefined && tasks.includes(task)) return task
  throw new CalibrationError(`--task ${asked}: ${model.id} can be scored by ${tasks.join(', ')}; take one of these`)
}
