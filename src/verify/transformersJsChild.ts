import { writeFileSync } from 'node:fs'
import { basename, dirname } from 'node:path'
import { readRequest } from './childRequest.ts'

/** The part of transformers.js 4.3 that is used here. */
interface TransformersJs {
  readonly env: Record<string, unknown>
  readonly AutoModelForCausalLM: { from_pretrained(id: string, options: object): Promise<Model> }
  readonly Tensor: new (type: string, data: BigInt64Array, dims: readonly number[]) => object
}

type Model = (
  inputs: object,
) => Promise<{ readonly logits: { readonly data: Float32Array }; readonly past_key_values?: object }>

/** The whole program of the child process: scores the request on standard input with transformers.js, in two chunks. */
export async function scoreWithTransformersJs(library: TransformersJs): Promise<void> {
  const { path, dtype, ids, rows, rowLength, vocabulary, output } = readRequest()
  library.env['allowRemoteModels'] = false
  library.env['localModelPath'] = dirname(path)
  const model = await library.AutoModelForCausalLM.from_pretrained(basename(path), { dtype: dtype ?? 'fp32' })
  const logits = new Float32Array(rows * rowLength * vocabulary)
  const tensor = (values: BigInt64Array) => new library.Tensor('int64', values, [1, values.length])
  const scored = async (row: readonly number[], start: number, end: number, past: object | undefined) => {
    const result = await model({
      input_ids: tensor(BigInt64Array.from(row.slice(start, end), BigInt)),
      attention_mask: tensor(new BigInt64Array(end).fill(1n)),
      ...(past !== undefined && Object.keys(past).length > 0 && { past_key_values: past }),
    })
    return result
  }
  for (let row = 0; row < rows; row++) {
    const tokens = ids.slice(row * rowLength, (row + 1) * rowLength)
    // a second chunk shows whether each attention found its own place in the key/value cache
    const middle = Math.ceil(rowLength / 2)
    const first = await scored(tokens, 0, middle, undefined)
    logits.set(first.logits.data, row * rowLength * vocabulary)
    if (middle === rowLength) continue
    const past = pastOf(first as unknown as Readonly<Record<string, object>>)
    const second = await scored(tokens, middle, rowLength, past)
    logits.set(second.logits.data, (row * rowLength + middle) * vocabulary)
  }
  writeFileSync(output, new Uint8Array(logits.buffer))
  process.stdout.write(`\n${library.env['version']}\n`)
}

/** The outputs `present.N.key` under the names they have as inputs. */
function pastOf(outputs: Readonly<Record<string, object>>): object {
  return Object.fromEntries(
    Object.entries(outputs)
      .filter(([name]) => name.startsWith('present.'))
      .map(([name, value]) => [name.replace('present', 'past_key_values'), value]),
  )
}
