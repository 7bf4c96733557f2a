// Every method at the same budget, on the same calibration text: what each leaves, and what it costs on text that none of them saw.
//
//     npm run build && node bench/methods.mjs [--model MODEL] [--ratio 0.2] [--methods LIST]
//
// An entry of the list is `NAME[:OPTION=VALUE[+OPTION=VALUE]]`, options as `blockpruner methods` lists them, and `search`,
// `layout`, `objective` for blockpruner: `blockpruner:search=fast`, `flap:bias=none`. Methods draw nothing from the untouched text.
import { mkdtempSync, rmSync } from 'node:fs'
import { cpus, tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { methods, pruneModel } from '../dist/index.js'
import { versions } from '../dist/run/versions.js'

const all = methods.flatMap(({ name }) => {
  if (name === 'given') return []
  if (name === 'blockpruner') return [`${name}:search=exact`, `${name}:search=fast`, `${name}:search=fast+objective=kl`]
  return name === 'shortened-llama' ? [name, `${name}:criterion=magnitude`] : [name]
})
const { values: options } = parseArgs({
  options: {
    model: { type: 'string', default: 'embedded' },
    ratio: { type: 'string', default: '0.2' },
    rows: { type: 'string', default: '8' },
    seqlen: { type: 'string', default: '128' },
    seed: { type: 'string', default: '42' },
    methods: { type: 'string', default: all.join(',') },
  },
})
const [ratio, nsamples, seqlen, seed] = [options.ratio, options.rows, options.seqlen, options.seed].map(Number)

console.log(`${cpus()[0]?.model}, ${cpus().length} threads; node ${process.version}; ${JSON.stringify(versions())}`)
console.log(
  `${options.model}, ${ratio} of the parameters; ${nsamples} rows of ${seqlen} tokens to choose by, 64 untouched`,
)
console.log('| method | blocks | parameters left | seconds | perplexity, calibration | perplexity, untouched |')
console.log('|---|---:|---:|---:|---:|---:|')
const directory = mkdtempSync(join(tmpdir(), 'methods-'))
let isFirst = true
for (const [i, entry] of options.methods.split(',').entries()) {
  const [method, given = ''] = entry.split(':')
  const pairs = given.split('+').filter(Boolean)
  const asked = Object.fromEntries(pairs.map((pair) => pair.split('=')))
  const { search, layout, objective, ...own } = asked
  const text = { nsamples, seqlen, seed }
  const start = performance.now()
  const { file, evaluation } = await pruneModel({
    model: options.model,
    output: join(directory, `${i}`),
    method,
    methodOptions: Object.fromEntries(Object.entries(own).map(([name, value]) => [name, typed(value)])),
    searching: { search, layout, objectives: objective?.split('&') },
    kinds: ['attention', 'mlp'],
    budget: { ratio },
    calibration: { dataset: 'embedded', ...text },
    evaluation: { dataset: 'embedded:test', ...text, nsamples: 64 },
    seed,
    export: false,
  })
  const seconds = ((performance.now() - start) / 1000).toFixed(0)
  const last = file.steps.at(-1)
  if (isFirst) {
    const dense = [file.dense.perplexity, evaluation.dense.sequenceMean].map((value) => value.toFixed(2))
    console.log(`| dense | 0 | ${file.model.parameters} | | ${dense.join(' | ')} |`)
    isFirst = false
  }
  const measured = [last.perplexity, evaluation.pruned.sequenceMean].map((value) => value.toFixed(2))
  console.log(`| ${entry} | ${file.plan.blocks.length} | ${last.parameters} | ${seconds} | ${measured.join(' | ')} |`)
}
rmSync(directory, { recursive: true, force: true })

function typed(value) {
  if (value === 'true' || value === 'false') return value === 'true'
  return Number.isNaN(Number(value)) ? value : Number(value)
}
