// The searches beside each other: work in plans × rows, seconds, perplexity on the calibration text and on untouched text.
//
//     npm run build && node bench/search.mjs [--model FILE.gguf] [--remove 20 | --ratio 0.25] [--searches LIST]
//
// An entry of the list is `SEARCH[:OBJECTIVE[+OBJECTIVE]][@ROWS]`, such as `swap:kl@64`. Objective and rows default to `--objective`
// and `--rows`. Searches: `exact`, `fast`, `beam`; `swap` and `evolve`, which start from `fast`; `oneshot-layers` (Shortened LLaMA) and
// `sleb`; `stock`, `stock-swap` and `stock-evolve`, plans that are stock checkpoints, chosen between by `--check` rows that they do not see.
//
// `--journal DIR` keeps what was evaluated, so that a stopped run goes on; seconds are then those of the last part.
import { mkdirSync, readFileSync } from 'node:fs'
import { cpus } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { setV8Flags } from '../dist/cli/v8Flags.js'
import { openEngine } from '../dist/engine/threadEngine.js'
import { optionsOf, searchOf } from '../dist/methods/registry.js'
import { shortenedLlama } from '../dist/methods/shortenedLlama.js'
import { sleb } from '../dist/methods/sleb.js'
import { loadModel } from '../dist/model/load.js'
import { emptyPlan, removedParameters } from '../dist/model/plan.js'
import { meanObjective } from '../dist/objectives/meanObjective.js'
import { distanceObjective } from '../dist/objectives/outputDistance.js'
import { perplexityObjective } from '../dist/objectives/perplexity.js'
import { rowRanges } from '../dist/objectives/rowRanges.js'
import { readRows } from '../dist/run/calibrate.js'
import { openJournal } from '../dist/run/journal.js'
import { journaledObjective } from '../dist/run/journaledObjective.js'
import { versions } from '../dist/run/versions.js'
import { singleBlocks } from '../dist/search/candidates.js'
import { stock } from '../dist/search/stock.js'

setV8Flags()

const { values: options } = parseArgs({
  options: {
    model: { type: 'string', default: 'embedded' },
    tokens: { type: 'string' },
    heldout: { type: 'string' },
    rows: { type: 'string', default: '8' },
    check: { type: 'string', default: '16' },
    untouched: { type: 'string', default: '64' },
    seqlen: { type: 'string', default: '128' },
    remove: { type: 'string' },
    ratio: { type: 'string' },
    objective: { type: 'string', default: 'perplexity' },
    generations: { type: 'string', default: '60' },
    patience: { type: 'string' },
    searches: { type: 'string', default: 'exact,fast,swap,evolve,beam,oneshot-layers,sleb,stock,stock-swap' },
    journal: { type: 'string' },
    seed: { type: 'string', default: '42' },
    plans: { type: 'boolean', default: false },
  },
})
const [rowCount, checkCount, untouchedCount, seqlen, seed] = [
  options.rows,
  options.check,
  options.untouched,
  options.seqlen,
  options.seed,
].map(Number)

const model = await loadModel(options.model)
const engine = openEngine(model)
const searches = options.searches.split(',').map(parseSearch)
const mostRows = Math.max(rowCount, ...searches.map(({ rows }) => rows))
const text = { dataset: 'embedded', tokens: options.tokens, seqlen, seed }
// the check rows come first, so that they are the same whatever a search asks for
const read = await readRows(model, { ...text, nsamples: checkCount + mostRows })
const part = rowRanges(read)
const checkRows = part([0, checkCount])
const rowsOf = (count) => part([checkCount, checkCount + count])
const untouched = await readRows(model, {
  ...text,
  dataset: 'embedded:test',
  tokens: options.heldout,
  nsamples: untouchedCount,
})
const isReached =
  options.ratio === undefined
    ? (plan) => plan.blocks.length >= Number(options.remove ?? Math.round(model.blocks.length / 3))
    : (plan) => removedParameters(model, plan) / model.parameters >= Number(options.ratio)

const objectiveOf = {
  perplexity: (rows) => perplexityObjective(engine, rows),
  kl: (rows) => distanceObjective(engine, rows, 'kl'),
  js: (rows) => distanceObjective(engine, rows, 'js'),
}
const comparing = (names, rows) => meanObjective(names.map((name) => objectiveOf[name](rows)))

/** `swap:kl@64`: the search, its layout, what it compares plans by, and on how many rows. */
function parseSearch(name) {
  const [, search, objectives = options.objective, rows = rowCount] =
    /^([\w-]+)(?::([\w+]+))?(?:@(\d+))?$/.exec(name) ?? []
  return { name, search, objectives: objectives.split('+'), rows: Number(rows) }
}

async function* run({ search, objectives }, objective) {
  if (search === 'sleb' || search === 'oneshot-layers') {
    const steps = search === 'sleb' ? sleb(model, objective) : shortenedLlama(model, objective, objective)
    for await (const step of steps) {
      yield step
      if (isReached(step.plan)) return
    }
    return
  }
  const [, layout, name] = /^(stock)?-?(\w*)$/.exec(search)
  const strategy = searchOf(name || 'fast')
  const own = { generations: Number(options.generations), patience: options.patience && Number(options.patience) }
  const asked = Object.entries(own).filter(([option]) => option in strategy.options)
  const given = optionsOf(strategy, Object.fromEntries(asked))
  const context = { model, objective, start: emptyPlan, kinds: ['attention', 'mlp'], keep: new Set(), isReached, seed }
  const along = (moves) => strategy.run({ ...context, moves }, given)
  const steps =
    layout === undefined
      ? along(singleBlocks(model))
      : stock(model, comparing(objectives, checkRows), { search: along, isReached })
  for await (const step of steps) {
    yield step
    // exact and fast go on until they are told to stop
    if (isReached(step.plan) && layout === undefined && !strategy.endsItself) return
  }
}

const heldOut = perplexityObjective(engine, untouched)
const calibration = perplexityObjective(engine, rowsOf(mostRows))
const perplexityOf = async (objective, plan) => Math.exp((await objective.evaluate([plan]))[0]).toFixed(3)

console.log(`${cpus()[0]?.model}, ${cpus().length} threads; node ${process.version}; ${JSON.stringify(versions())}`)
console.log(
  `${model.id}: ${model.blocks.length} blocks, ${model.parameters} parameters; ${rowCount} rows of ${seqlen} tokens; ` +
    `perplexity on ${mostRows} calibration rows and ${untouchedCount} untouched ones`,
)
console.log('| search | blocks removed | parameters left | plans × rows | seconds | calibration | untouched |')
console.log('|---|---:|---:|---:|---:|---:|---:|')
const denseRow = [await perplexityOf(calibration, emptyPlan), await perplexityOf(heldOut, emptyPlan)]
console.log(`| dense | 0 | ${model.parameters} | | | ${denseRow.join(' | ')} |`)

for (const entry of searches) {
  const { objective, work, close } = counted(entry)
  const start = performance.now()
  let plan = emptyPlan
  for await (const step of run(entry, objective)) {
    plan = step.plan
    if (options.plans) {
      const restored = step.restored ? `+${step.restored} ` : ''
      console.log(`${entry.name}: -${step.removed} ${restored}${step.loss.toFixed(4)} after ${work()}`)
    }
  }
  const seconds = ((performance.now() - start) / 1000).toFixed(1)
  close()
  const left = model.parameters - removedParameters(model, plan)
  const measured = [await perplexityOf(calibration, plan), await perplexityOf(heldOut, plan)]
  console.log(`| ${entry.name} | ${plan.blocks.length} | ${left} | ${work()} | ${seconds} | ${measured.join(' | ')} |`)
  if (options.plans) console.log(plan.blocks.join(' '))
}
await engine.close()

/** The objective of one search, what it evaluated counted, resumed ones included. */
function counted({ name, objectives, rows }) {
  let work = 0
  const asked = comparing(objectives, rowsOf(rows))
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
  const inputs = { model: model.id, tokens: read.description.sha256, rows, seqlen, seed, version: 2 }
  const journal = openJournal(path, inputs)
  const recalled = readFileSync(path, 'utf8')
    .split('\n')
    .slice(1, -1)
    .map((line) => JSON.parse(line).losses.length)
  work = recalled.reduce((total, n) => total + n, 0)
  return { objective: journaledObjective(count, journal), work: () => work, close: () => journal.close() }
}
