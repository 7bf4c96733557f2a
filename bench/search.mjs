// The searches beside each other: work in plans × rows, seconds, perplexity on the calibration text and on untouched text.
//
//     npm run build && node bench/search.mjs [--model FILE.gguf --tokens T.json --heldout H.json] [--remove 20 | --ratio 0.25]
//
// `--journal DIR` keeps what was evaluated, so that a stopped run goes on; seconds are then those of the last part.
import { mkdirSync, readFileSync } from 'node:fs'
import { cpus } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { openEngine } from '../dist/engine/engine.js'
import { loadModel } from '../dist/model/load.js'
import { emptyPlan, removedParameters } from '../dist/model/plan.js'
import { meanObjective } from '../dist/objectives/meanObjective.js'
import { distanceObjective } from '../dist/objectives/outputDistance.js'
import { perplexityObjective } from '../dist/objectives/perplexity.js'
import { readRows } from '../dist/run/calibrate.js'
import { openJournal } from '../dist/run/journal.js'
import { journaledObjective } from '../dist/run/journaledObjective.js'
import { versions } from '../dist/run/versions.js'
import { wholeLayers } from '../dist/search/candidates.js'
import { fast } from '../dist/search/fast.js'
import { endsItself, searchPlans } from '../dist/search/searchPlans.js'

const { values: options } = parseArgs({
  options: {
    model: { type: 'string', default: 'embedded' },
    tokens: { type: 'string' },
    heldout: { type: 'string' },
    rows: { type: 'string', default: '8' },
    seqlen: { type: 'string', default: '128' },
    remove: { type: 'string' },
    ratio: { type: 'string' },
    objective: { type: 'string', default: 'perplexity' },
    generations: { type: 'string', default: '60' },
    searches: { type: 'string', default: 'exact,fast,swap,evolve,beam,layers,stock' },
    journal: { type: 'string' },
    seed: { type: 'string', default: '42' },
    plans: { type: 'boolean', default: false },
  },
})
const [rowCount, seqlen, seed] = [options.rows, options.seqlen, options.seed].map(Number)

const model = await loadModel(options.model)
const engine = openEngine(model)
const rows = await readRows(model, { dataset: 'embedded', tokens: options.tokens, nsamples: rowCount, seqlen, seed })
const untouched = await readRows(model, {
  dataset: 'embedded:test',
  tokens: options.heldout,
  nsamples: 64,
  seqlen,
  seed,
})
const isReached =
  options.ratio === undefined
    ? (plan) => plan.blocks.length >= Number(options.remove ?? Math.round(model.blocks.length / 3))
    : (plan) => removedParameters(model, plan) / model.parameters >= Number(options.ratio)

/** Each search by the name of its row: the search, its layout, and what swap and evolve start from. */
const searches = {
  exact: { search: 'exact' },
  fast: { search: 'fast' },
  swap: { search: 'swap' },
  evolve: { search: 'evolve' },
  beam: { search: 'beam' },
  stock: { search: 'fast', layout: 'stock' },
  layers: { search: 'fast', layout: 'stock', layersOnly: true },
  'stock swap': { search: 'swap', layout: 'stock' },
}

const kinds = ['attention', 'mlp']
const objectiveOf = {
  perplexity: (on) => perplexityObjective(engine, on),
  kl: (on) => distanceObjective(engine, on, 'kl'),
  js: (on) => distanceObjective(engine, on, 'js'),
}

async function* run({ layersOnly, ...choice }, objective) {
  const given = { layout: 'any', start: 'fast', kinds, isReached, seed, generations: Number(options.generations) }
  const steps = layersOnly
    ? fast(model, objective, { candidates: wholeLayers(model).removals })
    : searchPlans(model, objective, objective, { ...given, ...choice })
  for await (const step of steps) {
    yield step
    // exact and fast go on until they are told to stop
    if (isReached(step.plan) && (layersOnly || !endsItself({ layout: 'any', ...choice }))) return
  }
}

const heldOut = perplexityObjective(engine, untouched)
const perplexityOf = async (objective, plan) => Math.exp((await objective.evaluate([plan]))[0]).toFixed(3)
const calibration = perplexityObjective(engine, rows)

console.log(`${cpus()[0]?.model}, ${cpus().length} threads; node ${process.version}; ${JSON.stringify(versions())}`)
console.log(
  `${model.id}: ${model.blocks.length} blocks, ${model.parameters} parameters; ${rows.rows} rows of ${seqlen} tokens`,
)
console.log('| search | blocks | parameters | plans × rows | seconds | calibration | untouched |')
console.log('|---|---|---|---|---|---|---|')
const denseRow = [await perplexityOf(calibration, emptyPlan), await perplexityOf(heldOut, emptyPlan)]
console.log(`| dense | 0 | ${model.parameters} | | | ${denseRow.join(' | ')} |`)

for (const name of options.searches.split(',')) {
  const { objective, work, close } = counted(name)
  const start = performance.now()
  let plan = emptyPlan
  for await (const step of run(searches[name], objective)) {
    plan = step.plan
    if (options.plans)
      console.log(`${name}: -${step.removed} ${step.restored ? `+${step.restored} ` : ''}${step.loss.toFixed(4)}`)
  }
  const seconds = ((performance.now() - start) / 1000).toFixed(1)
  close()
  const left = model.parameters - removedParameters(model, plan)
  const measured = [await perplexityOf(calibration, plan), await perplexityOf(heldOut, plan)]
  console.log(`| ${name} | ${plan.blocks.length} | ${left} | ${work()} | ${seconds} | ${measured.join(' | ')} |`)
  if (options.plans) console.log(plan.blocks.join(' '))
}
await engine.close()

/** The objective of one search, what it evaluated counted, resumed ones included. */
function counted(name) {
  let work = 0
  const asked = meanObjective(options.objective.split(',').map((objective) => objectiveOf[objective](rows)))
  const count = {
    ...asked,
    evaluateRows(plans, given = {}) {
      const [start, end] = given.range ?? [0, asked.rows]
      work += plans.length * (end - start)
      return asked.evaluateRows(plans, given)
    },
  }
  const path = options.journal && join(options.journal, `${name}.jsonl`)
  if (path === undefined) {
    return {
      objective: {
        ...count,
        evaluate: async (plans) => (await count.evaluateRows(plans)).map((v) => asked.combine(v)),
      },
      work: () => work,
      close() {},
    }
  }
  mkdirSync(options.journal, { recursive: true })
  const inputs = { model: model.id, tokens: rows.description.sha256, rows: rows.rows, seqlen, seed, version: 1 }
  const journal = openJournal(path, inputs)
  const recalled = readFileSync(path, 'utf8')
    .split('\n')
    .slice(1, -1)
    .map((line) => JSON.parse(line).losses.length)
  work = recalled.reduce((total, n) => total + n, 0)
  return { objective: journaledObjective(count, journal), work: () => work, close: () => journal.close() }
}
