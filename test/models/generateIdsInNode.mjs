// node generateIdsInNode.mjs, run where node_modules has transformers.js. Reads {folder, autoClass, rows, start, count} as JSON and
// prints the greedy ids of each row of ids: what transformers.js generates after it, or as the target of an encoder-decoder that
// begins with `start`, with none of the rules that a generation_config may have.
import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { basename, dirname } from 'node:path'
import { pathToFileURL } from 'node:url'

const { folder, autoClass, rows, start, count } = JSON.parse(readFileSync(0, 'utf8'))
const found = createRequire(`${process.cwd()}/here.js`).resolve('@huggingface/transformers')
const library = await import(pathToFileURL(found.replace('.cjs', '.mjs')).href)
library.env.allowRemoteModels = false
library.env.localModelPath = dirname(folder)
const model = await library[autoClass].from_pretrained(basename(folder), { dtype: 'fp32' })
const tensor = (values) =>
  new library.Tensor('int64', BigInt64Array.from(values.flat(), BigInt), [values.length, values[0].length])
const output = await model.generate({
  input_ids: tensor(rows),
  attention_mask: tensor(rows.map((row) => row.map(() => 1))),
  ...(start !== undefined && { decoder_start_token_id: start }),
  do_sample: false,
  max_new_tokens: count,
  eos_token_id: null,
  forced_bos_token_id: null,
  forced_eos_token_id: null,
  bad_words_ids: null,
})
console.log(JSON.stringify(output.tolist().map((row) => row.map(Number))))
