// Tokens per second of a forward pass with loss, family by family, against PyTorch, runs of both interleaved.
//   node bench/familySpeed.mjs --python PYTHON [--folder FOLDER] [--families llama,bert] [--rounds 5] [--threads 2]
//       [--shapes 4x128,1x1024] [--hidden 512] [--layers 4] [--vocabulary 16384] [--clock wall]        (after npm run build)
// PYTHON has torch, transformers and safetensors; family_speed.py makes a checkpoint of random weights for each family in FOLDER, where
// it stays. The peer is the faster of transformers' eager and sdpa attention. Both sides must give the same loss. On a busy machine take
// --clock cpu --threads 1, which counts seconds of work instead of seconds that passed.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdir } from 'node:fs/promises'
import { cpus, tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { setTimeout as sleep } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import { loadModel, measureOn, openEngine } from 'blockpruner'
import { setV8Flags } from '../dist/cli/v8Flags.js'
import { families, rowsOf } from './familyRows.mjs'

setV8Flags()

const { values } = parseArgs({
  options: {
    python: { type: 'string', default: process.env.BLOCKPRUNER_PYTHON },
    folder: { type: 'string', default: join(tmpdir(), 'family-speed') },
    families: { type: 'string', default: families.join(',') },
    rounds: { type: 'string', default: '5' },
    threads: { type: 'string', default: '2' },
    hidden: { type: 'string', default: '512' },
    layers: { type: 'string', default: '4' },
    vocabulary: { type: 'string', default: '16384' },
    shapes: { type: 'string', default: '4x128,1x1024' },
    clock: { type: 'string', default: 'wall' },
  },
})
if (values.python === undefined) throw new Error('--python: name a python that has torch and transformers')
const [rounds, threads, vocabulary] = [values.rounds, values.threads, values.vocabulary].map(Number)
const shapes = values.shapes.split(',').map((shape) => shape.split('x').map(Number))
/** Times PyTorch's time that nothing should take. */
const limit = 1.2
/** Seconds so far, on the wall or of all threads of this process. */
const clocks = {
  wall: () => performance.now() / 1000,
  cpu: () => (process.cpuUsage().user + process.cpuUsage().system) / 1e6,
}
const now = clocks[values.clock]
const emptyPlan = { blocks: [], units: {} }

const tableOf = ({ ids, rowLength }, values = ids) =>
  Array.from({ length: ids.length / rowLength }, (_, row) => [
    ...values.subarray(row * rowLength, (row + 1) * rowLength),
  ])

/** The same rows in the words of transformers. */
function inputsOf(rows) {
  const input_ids = tableOf(rows)
  const { decoder } = rows
  if (decoder === undefined) return { input_ids, labels: tableOf(rows, rows.targets) }
  return { input_ids, decoder_input_ids: tableOf(decoder), labels: tableOf(decoder, decoder.targets) }
}

async function openPeer(family) {
  const sizes = [values.hidden, values.layers, values.vocabulary, values.threads, values.clock]
  const child = spawn(values.python, ['bench/family_speed.py', values.folder, family, ...sizes], {
    stdio: ['pipe', 'pipe', 'inherit'],
  })
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]()
  const next = async () => {
    const { value, done } = await lines.next()
    if (done) throw new Error(`${family}: the Python side ended`)
    return JSON.parse(value)
  }
  return {
    versions: await next(),
    run(inputs) {
      child.stdin.write(`${JSON.stringify(inputs)}\n`)
      return next()
    },
    async close() {
      child.stdin.end()
      await once(child, 'close')
    },
  }
}

const median = (numbers) => numbers.toSorted((a, b) => a - b)[Math.floor(numbers.length / 2)]

async function measure(family, model, engine, peer, [count, length]) {
  const rows = rowsOf(model.architecture.family, vocabulary, count, length)
  const inputs = inputsOf(rows)
  const tokens = rows.ids.length + (rows.decoder?.ids.length ?? 0)
  const predictions = (rows.decoder ?? rows).targets?.length ?? count * (length - 1)
  const ours = async () => {
    const begin = now()
    // of one plan nothing is remembered for the next round
    const [sums] = await measureOn(engine, rows, { plans: [emptyPlan], measure: { name: 'tokenLoss' } })
    return { seconds: now() - begin, loss: sums.reduce((a, b) => a + b, 0) / predictions }
  }
  const { loss } = await ours() // both once untimed: sessions are made, weights read
  for (const [attention, theirs] of Object.entries(await peer.run(inputs))) {
    if (Math.abs(loss / theirs.loss - 1) < 1e-4) continue
    throw new Error(`${family} ${count}x${length}: loss ${loss}, ${attention} of PyTorch gives ${theirs.loss}`)
  }
  const times = { ours: [] }
  for (let round = 0; round < rounds; round++) {
    times.ours.push((await ours()).seconds)
    await sleep(50) // threads of the one side that still spin would slow the other
    for (const [attention, { seconds }] of Object.entries(await peer.run(inputs))) {
      times[attention] = [...(times[attention] ?? []), seconds]
    }
    await sleep(50)
  }
  const { ours: own, ...others } = times
  const [[name, peers]] = Object.entries(others).sort(([, a], [, b]) => median(a) - median(b))
  const ratio = median(own.map((seconds, round) => seconds / peers[round]))
  return { own: tokens / median(own), peer: tokens / median(peers), name, ratio }
}

await mkdir(values.folder, { recursive: true })
console.log(`${cpus()[0].model}, ${cpus().length} logical cores, node ${process.version}, ${threads} threads`)
console.log(
  `random weights: hidden ${values.hidden}, ${values.layers} layers, vocabulary ${vocabulary}; float32, medians of ${rounds} rounds, ${values.clock} time\n`,
)
console.log('| family | rows x tokens | blockpruner, tokens/s | PyTorch, tokens/s | attention | time / PyTorch |')
console.log('|---|---|---:|---:|---|---:|')
const slow = []
let versions
for (const family of values.families.split(',')) {
  const peer = await openPeer(family)
  versions = peer.versions
  const model = await loadModel(join(values.folder, family))
  const engine = openEngine(model, { threads })
  for (const shape of shapes) {
    const { own, peer: theirs, name, ratio } = await measure(family, model, engine, peer, shape)
    const shown = shape.join(' x ')
    console.log(`| ${family} | ${shown} | ${own.toFixed(0)} | ${theirs.toFixed(0)} | ${name} | ${ratio.toFixed(2)} |`)
    if (ratio > limit) slow.push(`${family} ${shown}: ${ratio.toFixed(2)}`)
  }
  await Promise.all([engine.close(), model.weights.close(), peer.close()])
}
console.log(`\ntorch ${versions.torch}, transformers ${versions.transformers}`)
console.log(slow.length === 0 ? `nothing above ${limit}` : `above ${limit}: ${slow.join('; ')}`)
process.exit()
