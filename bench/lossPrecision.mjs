// How far the loss of a token is from float64 by the size of the vocabulary, and what the head takes against its bare product.
//   node bench/lossPrecision.mjs
import * as ort from 'onnxruntime-node'
import { sessionOptions } from '../dist/device/cpu.js'
import { logitsGraph, releasedTokenLossGraph, tokenLossGraph } from '../dist/graph/head.js'
import { graphToOnnx } from '../dist/graph/toOnnx.js'
import { Random } from '../dist/tensor/random.js'

const form = { weight: 'lmHead' }
const runs = 9

console.log('words    width   loss    graph      bias      largest   CPU time / product')
for (const [vocabulary, width] of [
  [32_000, 576],
  [49_152, 576],
  [128_256, 576],
  [262_144, 640],
]) {
  // as many rows as the engine has logits of alive
  const rows = Math.floor(2 ** 23 / vocabulary)
  const feeds = feedsOf(vocabulary, width, rows)
  const graphs = {
    product: logitsGraph(form),
    released: releasedTokenLossGraph(form),
    precise: tokenLossGraph(form, vocabulary),
  }
  const sessions = {}
  for (const [name, graph] of Object.entries(graphs)) {
    sessions[name] = await ort.InferenceSession.create(graphToOnnx(graph), sessionOptions(undefined))
  }
  const times = { product: [], released: [], precise: [] }
  const results = {}
  for (let run = 0; run < runs; run++) {
    for (const name of Object.keys(graphs)) {
      const { targets, ...others } = feeds
      const start = process.cpuUsage()
      const found = await sessions[name].run(name === 'product' ? others : feeds)
      const { user, system } = process.cpuUsage(start)
      times[name].push(user + system)
      results[name] = found[graphs[name].outputs[0].value.name].data
    }
  }
  const exact = exactLosses(results.product, feeds.targets.data, vocabulary)
  const loss = -exact.reduce((sum, value) => sum + value, 0) / rows
  for (const name of ['released', 'precise']) {
    const errors = exact.map((value, row) => results[name][row] - value)
    const bias = errors.reduce((sum, error) => sum + error, 0) / rows
    const largest = Math.max(...errors.map(Math.abs))
    const ratio = median(times[name].map((time, run) => time / times.product[run]))
    const numbers = [bias, largest].map((value) => value.toExponential(1).padStart(8)).join('  ')
    console.log(
      `${`${vocabulary}`.padEnd(8)} ${`${width}`.padEnd(6)} ${loss.toFixed(2).padStart(5)}    ${name.padEnd(9)}${numbers}    ${ratio.toFixed(3)}`,
    )
  }
  for (const session of Object.values(sessions)) await session.release()
}

/** Seeded states and a matrix whose logits spread by 4 nats, where sums in float32 lose the most. */
function feedsOf(vocabulary, width, rows) {
  const random = new Random(1)
  const hidden = Float32Array.from({ length: rows * width }, () => random.normal())
  const matrix = Float32Array.from({ length: vocabulary * width }, () => (random.normal() * 4) / Math.sqrt(width))
  const targets = BigInt64Array.from({ length: rows }, () => BigInt(random.below(vocabulary)))
  return {
    hidden: new ort.Tensor('float32', hidden, [rows, width]),
    lmHead: new ort.Tensor('float32', matrix, [vocabulary, width]),
    targets: new ort.Tensor('int64', targets, [rows]),
  }
}

/** log p of each target in float64, from the float32 logits. */
function exactLosses(logits, targets, vocabulary) {
  return Array.from(targets, (target, row) => {
    const own = logits.subarray(row * vocabulary, (row + 1) * vocabulary)
    const largest = own.reduce((a, b) => Math.max(a, b))
    return own[Number(target)] - largest - Math.log(own.reduce((sum, z) => sum + Math.exp(z - largest), 0))
  })
}

function median(values) {
  return values.sort((a, b) => a - b)[Math.floor(values.length / 2)]
}
