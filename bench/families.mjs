// Held-out loss against parameters removed, for models of every kind, without retraining: BlockPruner and FinerCut as `blockpruner
// prune` runs them, on packed rows of the embedded training text, measured on the embedded text that no model saw.
//   node bench/families.mjs [MODEL...] [--rows 32] [--eval-rows 256] [--row-length 128]        (after npm run build)
// MODEL is a folder or a hub id; without one, the GPT-2, BERT and T5 of test/fixtures/brown. A removed share is of the prunable linear parameters: all weight matrices inside attention and MLP
// blocks, which leaves embeddings, heads, norms, biases and position tables out. Whole blocks go, so a share is met from above: the
// first step of the method that reaches it, shown as reached.
import { mkdtemp, rm } from 'node:fs/promises'
import { cpus, tmpdir } from 'node:os'
import { basename, join } from 'node:path'
import { parseArgs } from 'node:util'
import { evaluateModel, loadModel, pruneModel } from 'blockpruner'

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    rows: { type: 'string', default: '32' },
    'eval-rows': { type: 'string', default: '256' },
    'row-length': { type: 'string', default: '128' },
    methods: { type: 'string', default: 'blockpruner,finercut' },
    threads: { type: 'string', default: '2' },
  },
})
const [rows, evalRows, seqlen, threads] = [values.rows, values['eval-rows'], values['row-length'], values.threads].map(
  Number,
)
const brown = ['gpt2', 'bert', 't5'].map((name) => join(import.meta.dirname, '../test/fixtures/brown', `brown-${name}`))
const models = positionals.length > 0 ? positionals : brown
const shares = [0.14, 0.28, 0.42, 0.56, 0.7]
const seed = 42
const work = await mkdtemp(join(tmpdir(), 'families-'))

/** Elements of the weight matrices inside each block, by its id. */
async function linearParameters(path) {
  const model = await loadModel(path)
  const sizeOf = (name) => {
    const { shape } = model.weights.tensors.get(name)
    return shape.length < 2 ? 0 : shape.reduce((product, size) => product * size, 1)
  }
  const inBlock = ({ weights }) =>
    [...new Set(Object.values(weights).map(([name]) => name))].reduce((total, name) => total + sizeOf(name), 0)
  const sizes = new Map(model.blocks.map((block) => [block.id, inBlock(block)]))
  await model.weights.close()
  return { sizes, parameters: model.parameters }
}

async function measured(path, plan, steps) {
  const calibrated = { dataset: 'embedded:test', nsamples: evalRows, seqlen, seed }
  const { pruned, dense, task } = await evaluateModel({ model: path, plan, steps, rows: calibrated, threads })
  const report = plan === undefined ? dense : pruned
  return { task, loss: report.loss ?? report.natsPerToken, error: report.standardError }
}

const text = ({ loss, error }) => `${loss.toFixed(3)} ± ${error.toFixed(3)}`
const percent = (share) => `${(share * 100).toFixed(1)} %`
const units = { nextToken: 'token', maskedToken: 'masked token', spanCorruption: 'target token' }

/** The rows of the table that one method gives: what it removed, and the held-out loss. */
async function rowsOf(path, method, { sizes, parameters }) {
  const total = [...sizes.values()].reduce((sum, size) => sum + size, 0)
  const output = join(work, `${basename(path)}-${method}`)
  const calibration = { dataset: 'embedded', nsamples: rows, seqlen, seed }
  // a little more than the last share, because norms and biases count in a budget of parameters
  const budget = { ratio: (Math.min(1, shares.at(-1) + 0.03) * total) / parameters }
  const begin = performance.now()
  const { file, planPath } = await pruneModel({
    model: path,
    output,
    method,
    budget,
    calibration,
    seed,
    threads,
    export: false,
  })
  const seconds = ((performance.now() - begin) / 1000).toFixed(0)
  const gone = file.steps.map((_, i) =>
    file.steps
      .slice(0, i + 1)
      .flatMap(({ removed }) => removed)
      .reduce((sum, id) => sum + sizes.get(id), 0),
  )
  const found = []
  for (const share of shares) {
    const step = gone.findIndex((size) => size >= share * total)
    if (step < 0)
      throw new Error(`${method} on ${path} ended at ${percent(gone.at(-1) / total)}, before ${percent(share)}`)
    const kinds = file.steps.slice(0, step + 1).flatMap(({ removed }) => removed.map((id) => id.split('.')[2]))
    const count = (kind) => kinds.filter((other) => other === kind).length
    const blocks = `${count('attention') + count('crossAttention')} attention, ${count('mlp')} mlp`
    const loss = text(await measured(path, planPath, step + 1))
    found.push([percent(gone[step] / total), percent(file.steps[step].ratio), blocks, loss])
  }
  return { found, seconds }
}

const { versions } = await import('node:process')
console.log(
  `${cpus()[0].model}, ${cpus().length} logical cores, node ${versions.node}, ${threads} threads, seed ${seed}`,
)
console.log(`calibration: brown:train, ${rows} rows of ${seqlen}; held out: brown:test, ${evalRows} rows of ${seqlen}`)
for (const path of models) {
  const linear = await linearParameters(path)
  const dense = await measured(path)
  const total = [...linear.sizes.values()].reduce((sum, size) => sum + size, 0)
  console.log(
    `\n**${basename(path)}**: ${linear.parameters} parameters, ${total} of them prunable linear; loss in nats per ${units[dense.task]} ± standard error\n`,
  )
  console.log('| method | linear parameters removed | of all parameters | blocks gone | held-out loss |')
  console.log('|---|---:|---:|---|---:|')
  console.log(`| dense | 0.0 % | 0.0 % | none | ${text(dense)} |`)
  for (const method of values.methods.split(',')) {
    const { found, seconds } = await rowsOf(path, method, linear)
    for (const [share, ofAll, blocks, loss] of found) {
      console.log(`| ${method} | ${share} | ${ofAll} | ${blocks} | ${loss} |`)
    }
    console.error(`${method} on ${basename(path)}: ${seconds} s`)
  }
}
await rm(work, { recursive: true })
process.exit()
