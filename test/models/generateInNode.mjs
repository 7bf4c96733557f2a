// node generateInNode.mjs FOLDER DTYPE PROMPT COUNT IDS, run where node_modules has transformers.js. Prints as JSON the greedy
// ids, and how much less likely than its own choice Node finds the first of IDS that is another: 0 where none is.
import { createRequire } from 'node:module'
import { basename, dirname } from 'node:path'
import { pathToFileURL } from 'node:url'

const [folder, dtype, prompt, count, other] = process.argv.slice(2)
const found = createRequire(`${process.cwd()}/here.js`).resolve('@huggingface/transformers')
const { AutoModelForCausalLM, AutoTokenizer, env } = await import(pathToFileURL(found.replace('.cjs', '.mjs')).href)
env.allowRemoteModels = false
env.localModelPath = dirname(folder)
const tokenizer = await AutoTokenizer.from_pretrained(basename(folder))
const model = await AutoModelForCausalLM.from_pretrained(basename(folder), { dtype })
const inputs = tokenizer(prompt)
const output = await model.generate({ ...inputs, do_sample: false, max_new_tokens: Number(count) })
const ids = Array.from(output.tolist()[0], Number)

const others = JSON.parse(other)
const parting = ids.findIndex((id, i) => id !== others[i])
let gap = 0
if (parting >= 0) {
  const { input_ids } = tokenizer(prompt)
  const shared = new input_ids.constructor('int64', BigInt64Array.from(ids.slice(0, parting), BigInt), [1, parting])
  const mask = new input_ids.constructor('int64', new BigInt64Array(parting).fill(1n), [1, parting])
  const { logits } = await model({ input_ids: shared, attention_mask: mask })
  const last = logits.data.slice(-logits.dims.at(-1))
  gap = last[ids[parting]] - last[others[parting]]
}
console.log(JSON.stringify({ ids, parting, gap }))
