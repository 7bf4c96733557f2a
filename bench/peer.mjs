// Seconds per candidate against PyTorch on the same tokens, runs of the two interleaved; then one block against a bare Gemm.
//   npm run bench:peer -- --model FOLDER --python PYTHON [--tokens FILE.json] [--rows 4] [--row-length 128] [--remove 2] [--rounds 3]
// FOLDER is a Hugging Face folder that both can read; PYTHON has torch, transformers and safetensors.
import { spawnSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { cpus } from 'node:os'
import { parseArgs } from 'node:util'
import { blockPruner, loadModel, openEngine, perplexityObjective } from 'blockpruner'
import { setV8Flags } from '../dist/cli/v8Flags.js'
import { blockAgainstGemm } from './blockAgainstGemm.mjs'

setV8Flags()

const { values } = parseArgs({
  options: {
    model: { type: 'string', default: 'models/brown-llama' },
    tokens: { type: 'string', default: 'test/fixtures/reference/brown-llama/tokens.json' },
    python: { type: 'string', default: process.env.BLOCKPRUNER_PYTHON },
    rows: { type: 'string', default: '4' },
    'row-length': { type: 'string', default: '128' },
    remove: { type: 'string', default: '2' },
    rounds: { type: 'string', default: '3' },
    threads: { type: 'string', default: '2' },
  },
})
const [rows, rowLength, remove, rounds, threads] = [
  values.rows,
  values['row-length'],
  values.remove,
  values.rounds,
  values.threads,
].map(Number)

console.log(`${cpus()[0].model}, ${cpus().length} logical cores, node ${process.version}, ${threads} threads`)
console.log(`${values.model}, ${rows} x ${rowLength} tokens, ${remove} removals, ${rounds} rounds\n`)

const ids = JSON.parse(readFileSync(values.tokens, 'utf8')).ids.slice(0, rows * rowLength)
const model = await loadModel(values.model)
const engine = openEngine(model, { threads })

async function ours() {
  // new rows each time: nothing remembered from the round before
  const objective = perplexityObjective(engine, { ids: Int32Array.from(ids), rows, rowLength })
  const order = []
  let candidates = 0
  const counted = {
    ...objective,
    evaluate(plans) {
      candidates += plans.length
      return objective.evaluate(plans)
    },
  }
  const begin = performance.now()
  for await (const step of blockPruner(model, counted)) {
    order.push(step.removed[0])
    if (order.length === remove) break
  }
  return { seconds: (performance.now() - begin) / 1000 / candidates, order }
}

function theirs() {
  const size = ['--rows', rows, '--row-length', rowLength, '--remove', remove, '--threads', threads].map(String)
  const run = spawnSync(values.python, ['bench/blockpruner_pytorch.py', values.model, values.tokens, ...size], {
    encoding: 'utf8',
  })
  if (run.status !== 0) throw new Error(run.stderr)
  const { seconds_per_candidate: seconds, order, torch } = JSON.parse(run.stdout)
  const kinds = { mha: 'attention', mlp: 'mlp' }
  return { seconds, torch, order: order.map(([kind, layer]) => `decoder.${layer}.${kinds[kind]}`) }
}

await ours() // warm-up: reads the weights, makes the sessions
const ratios = []
for (let round = 0; round < rounds; round++) {
  const mine = await ours()
  const line = `blockpruner ${mine.seconds.toFixed(4)} s per candidate`
  if (values.python === undefined) {
    console.log(`${line} (no --python, nothing to compare with)`)
    continue
  }
  const peer = theirs()
  ratios.push(peer.seconds / mine.seconds)
  const same = JSON.stringify(mine.order) === JSON.stringify(peer.order) ? 'same order' : 'OTHER ORDER'
  console.log(`${line}, PyTorch ${peer.torch} ${peer.seconds.toFixed(4)}: ${ratios.at(-1).toFixed(2)} x, ${same}`)
}
if (ratios.length > 0) {
  ratios.sort((a, b) => a - b)
  console.log(`median ${ratios[Math.floor(ratios.length / 2)].toFixed(2)} x`)
}
await engine.close()

console.log('\none block against the bare matrix products of its shapes:')
await blockAgainstGemm(model, { rows, rowLength, threads })
await model.weights.close()
