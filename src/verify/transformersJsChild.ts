import { writeFileSync } from 'node:fs'
import { basename, dirname } from 'node:path'
import type { ChildRequest } from './childProcess.ts'
import { readRequest } from './childRequest.ts'
import type { PredictionKind } from './predictions.ts'

/** The part of transformers.js 4.3 that is used here. */
interface TransformersJs {
  readonly env: Record<string, unknown>
  readonly Tensor: new (type: string, data: BigInt64Array, dims: readonly number[]) => object
}

type Model = (inputs: object) => Promise<Readonly<Record<string, { readonly data: Float32Array }>>>

/** The class that loads a model for what it predicts. */
const autoClasses: Readonly<Record<PredictionKind, string>> = {
  nextToken: 'AutoModelForCausalLM',
  targetToken: 'AutoModelForSeq2SeqLM',
  maskedToken: 'AutoModelForMaskedLM',
  tokenClass: 'AutoModelForTokenClassification',
  rowClass: 'AutoModelForSequenceClassification',
  hiddenState: 'AutoModel',
}

/** Predictions of one row, in pieces one behind the other. */
type ScoreRow = (row: number) => Promise<Float32Array[]>

/** The whole program of the child process: scores the request on standard input with transformers.js. */
export async function scoreWithTransformersJs(library: TransformersJs): Promise<void> {
  const request = readRequest()
  const { path, dtype, prediction, rows, output } = request
  library.env['allowRemoteModels'] = false
  library.env['localModelPath'] = dirname(path)
  const classes = library as unknown as Readonly<
    Record<string, { from_pretrained(id: string, options: object): Promise<Model> }>
  >
  const model = await classes[autoClasses[prediction]]!.from_pretrained(basename(path), { dtype: dtype ?? 'fp32' })
  const tensor: MakeTensor = (values) =>
    new library.Tensor('int64', BigInt64Array.from(values, BigInt), [1, values.length])
  const scorers = { nextToken: nextTokens, targetToken: targetTokens } as const
  const scoreRow =
    prediction === 'nextToken' || prediction === 'targetToken'
      ? scorers[prediction](model, request, tensor)
      : encoded(model, request, tensor)
  const parts: Float32Array[] = []
  for (let row = 0; row < rows; row++) parts.push(...(await scoreRow(row)))
  writeFileSync(
    output,
    Buffer.concat(parts.map((part) => new Uint8Array(part.buffer, part.byteOffset, part.byteLength))),
  )
  process.stdout.write(`\n${library.env['version']}\n`)
}

type MakeTensor = (values: readonly number[]) => object

function encoded(model: Model, { ids, rowLength, lengths, prediction }: ChildRequest, tensor: MakeTensor): ScoreRow {
  return async (row) => {
    const result = await model({
      input_ids: tensor(ids.slice(row * rowLength, (row + 1) * rowLength)),
      attention_mask: tensor(maskOf(lengths[row]!, rowLength)),
    })
    return [result[prediction === 'hiddenState' ? 'last_hidden_state' : 'logits']!.data]
  }
}

function nextTokens(model: Model, { ids, rowLength }: ChildRequest, tensor: MakeTensor): ScoreRow {
  return (row) => {
    const tokens = ids.slice(row * rowLength, (row + 1) * rowLength)
    return inTwoChunks(rowLength, (start, end, past) =>
      model({
        input_ids: tensor(tokens.slice(start, end)),
        attention_mask: tensor(maskOf(end, end)),
        ...past,
      }),
    )
  }
}

function targetTokens(model: Model, { ids, rowLength, lengths, decoder }: ChildRequest, tensor: MakeTensor): ScoreRow {
  const targetLength = decoder!.rowLength
  return (row) => {
    const targets = decoder!.ids.slice(row * targetLength, (row + 1) * targetLength)
    return inTwoChunks(targetLength, (start, end, past) =>
      model({
        input_ids: tensor(ids.slice(row * rowLength, (row + 1) * rowLength)),
        attention_mask: tensor(maskOf(lengths[row]!, rowLength)),
        decoder_input_ids: tensor(targets.slice(start, end)),
        ...past,
      }),
    )
  }
}

/** A second chunk shows whether each attention found its own place in the key/value cache. */
async function inTwoChunks(
  length: number,
  call: (start: number, end: number, past: object) => ReturnType<Model>,
): Promise<Float32Array[]> {
  const middle = Math.ceil(length / 2)
  const first = await call(0, middle, {})
  if (middle === length) return [first['logits']!.data]
  const past = pastOf(first)
  const second = await call(middle, length, Object.keys(past).length === 0 ? {} : { past_key_values: past })
  return [first['logits']!.data, second['logits']!.data]
}

/** The outputs `present.N.key` under the names they have as inputs. */
function pastOf(outputs: Readonly<Record<string, object>>): object {
  return Object.fromEntries(
    Object.entries(outputs)
      .filter(([name]) => name.startsWith('present.'))
      .map(([name, value]) => [name.replace('present', 'past_key_values'), value]),
  )
}

const maskOf = (tokens: number, length: number) => Array.from({ length }, (_, i) => (i < tokens ? 1 : 0))
