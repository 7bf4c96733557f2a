// Every export in every consumer: is it the plan, how large is it, and is it faster than the dense model exported likewise?
//   node bench/exports.mjs [--model embedded] [--python PYTHON] [--formats LIST] [--plans LIST] [--rounds 3] [--threads 2]
//       [--prompt 256] [--tokens 64] [--once LIST] [--timed LIST] [--all]               (after npm run build)
// llama.cpp and transformers.js come from `npm install --prefix test/consumers`; PYTHON (or BLOCKPRUNER_PYTHON) has torch and
// transformers, and vLLM or mlx-lm if those are to be asked. Predictions are compared on untouched text by verifyExport. Of each
// format, the dense export and those of all plans are loaded side by side in one process and take turns, so that what else the
// machine does hits all alike. Everything is written to a temporary folder and removed. The plan `layers` is the one that mergekit
// has a recipe for. --all: every plan in every type, all timed. Without it the types of --once are written of one plan, and GGUF in
// F32 and ONNX in fp16, which few run on a CPU, are not timed.
import { spawnSync } from 'node:child_process'
import { mkdtempSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { cpus, tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import {
  emptyPlan,
  exportGguf,
  exportHuggingFace,
  exportNemotron,
  exportOnnx,
  loadModel,
  mergekitYaml,
  openEngine,
  readRows,
  removedParameters,
  verifyExport,
} from 'blockpruner'
import { versions } from '../dist/run/versions.js'
import { folderWithPackage } from '../dist/verify/childProcess.js'
import { predict } from '../dist/verify/predictions.js'

const everyFormat =
  'huggingface,gguf,gguf:F32,gguf:F16,gguf:Q8_0,gguf:Q4_0,onnx:fp32,onnx:fp16,onnx:q8,onnx:q4,nemotron,mergekit'
const { values: options } = parseArgs({
  options: {
    model: { type: 'string', default: 'embedded' },
    python: { type: 'string', default: process.env.BLOCKPRUNER_PYTHON ?? 'python3' },
    formats: { type: 'string', default: everyFormat },
    plans: { type: 'string', default: 'attention,mlp,mixed,uneven' },
    rounds: { type: 'string', default: '3' },
    threads: { type: 'string', default: '2' },
    prompt: { type: 'string', default: '256' },
    tokens: { type: 'string', default: '64' },
    timed: { type: 'string', default: 'huggingface,gguf,gguf:F16,gguf:Q8_0,gguf:Q4_0,onnx:fp32,onnx:q8,onnx:q4' },
    once: { type: 'string', default: 'gguf,gguf:F16,gguf:Q4_0,onnx:fp16,onnx:q4' },
    all: { type: 'boolean', default: false },
  },
})
const [rounds, threads, tokens] = [options.rounds, options.threads, options.tokens].map(Number)
const formats = options.formats.split(',')
const timed = new Set((options.all ? options.formats : options.timed).split(','))
const once = new Set(options.all ? [] : options.once.split(','))
const consumers = fileURLToPath(new URL('../test/consumers', import.meta.url))
// where verifyExport finds its Python
process.env.BLOCKPRUNER_PYTHON = options.python

/** Share of the blocks that a plan removes. */
const ratio = 0.15

/** `count` of `list`, evenly spread. */
const spread = (list, count) =>
  Array.from({ length: Math.min(count, list.length) }, (_, i) => list[Math.floor(((i + 0.5) * list.length) / count)])

/** Plans of any model by rule. The first and the last layer of a stack stay whole where there are others. */
const planOf = {
  attention: (blocks) => blocksPlan(spread(ofKind(blocks, 'attention'), shareOf(blocks))),
  mlp: (blocks) => blocksPlan(spread(ofKind(blocks, 'mlp'), shareOf(blocks))),
  /** One layer without anything, and attentions and mlps in turn. */
  mixed(blocks) {
    const emptied = spread(ofKind(blocks, 'attention'), 1)[0]
    const isElsewhere = ({ stack, layer }) => stack !== emptied.stack || layer !== emptied.layer
    const [attentions, mlps] = ['attention', 'mlp'].map((kind) => ofKind(blocks, kind).filter(isElsewhere))
    const removed = spread([...attentions.keys()], Math.max(2, shareOf(blocks) - 2)).map((at, i) =>
      i % 2 === 0 ? attentions[at] : mlps[at],
    )
    return blocksPlan([...blocks.filter((block) => !isElsewhere(block) && block.kind !== 'crossAttention'), ...removed])
  },
  /** Mlps of different multiples of 32 channels, 20 to 60 % fewer, and a head group less in every second of their layers. */
  uneven(blocks) {
    const mlps = spread(ofKind(blocks, 'mlp'), Math.max(2, shareOf(blocks)))
    const units = {}
    for (const [i, mlp] of mlps.entries()) {
      const share = 0.8 - (0.4 * i) / (mlps.length - 1)
      const left = Math.max(32, 32 * Math.round((share * mlp.units) / 32))
      units[mlp.id] = spread([...Array(mlp.units).keys()], mlp.units - left)
      const attention = ofKind(blocks, 'attention').find(
        ({ stack, layer }) => stack === mlp.stack && layer === mlp.layer,
      )
      if (i % 2 === 0 && attention.units > 1) units[attention.id] = [i % attention.units]
    }
    return { blocks: [], units }
  },
  /** What mergekit has a recipe for. */
  layers: (blocks) => {
    const layers = spread(ofKind(blocks, 'attention'), Math.ceil(shareOf(blocks) / 2))
    const isRemoved = (block) => layers.some(({ stack, layer }) => stack === block.stack && layer === block.layer)
    return blocksPlan(blocks.filter(isRemoved))
  },
}
const shareOf = (blocks) => Math.max(1, Math.round(ratio * blocks.length))
const blocksPlan = (blocks) => ({ blocks: blocks.map(({ id }) => id), units: {} })

/** Blocks of a kind, without those of the first and last layer of a stack. */
function ofKind(blocks, kind) {
  const last = { encoder: 0, decoder: 0 }
  for (const { stack, layer } of blocks) last[stack] = Math.max(last[stack], layer)
  const all = blocks.filter((block) => block.kind === kind)
  const inner = all.filter(({ stack, layer }) => layer > 0 && layer < last[stack])
  return inner.length > 1 ? inner : all
}

/** Writes an export; returns the bytes of its weights. */
async function write(format, plan, path) {
  const [form, type] = format.split(':')
  if (form === 'gguf') return (await exportGguf(model, plan, path, { type, replace: true })).sizeBytes
  if (form === 'onnx') {
    const { files } = await exportOnnx(model, plan, path, { dtypes: [type] })
    return files.reduce((total, { sizeBytes }) => total + sizeBytes, 0)
  }
  if (form === 'mergekit') {
    writeFileSync(path, mergekitYaml(model, plan))
    return statSync(path).size
  }
  await (form === 'nemotron' ? exportNemotron : exportHuggingFace)(model, plan, path)
  const weights = readdirSync(path).filter((name) => name.endsWith('.safetensors'))
  return weights.reduce((total, name) => total + statSync(join(path, name)).size, 0)
}

/** Software whose speed is measured, by form. */
const timers = {
  gguf: { consumer: 'llama.cpp (node-llama-cpp)', library: 'node-llama-cpp', program: 'timeLlamaCpp' },
  onnx: { consumer: 'transformers.js', library: '@huggingface/transformers', program: 'timeTransformersJs' },
  huggingface: { consumer: 'transformers (Python)' },
}

/** Seconds of each of `paths`, round by round, or `{ error }`. */
function timesOf(form, dtype, paths) {
  const request = JSON.stringify({ paths, dtype, prompt, tokens, rounds, threads })
  const { library, program } = timers[form]
  let [command, args, cwd] = [options.python, [fileURLToPath(new URL('export_speed.py', import.meta.url))], undefined]
  if (library !== undefined) {
    const url = new URL('exportSpeed.mjs', import.meta.url).href
    // node-llama-cpp forks a file to test its binary, and a fork inherits these arguments
    const code = `process.execArgv = []; await (await import('${url}')).${program}(await import('${library}'))`
    ;[command, args, cwd] = [
      process.execPath,
      ['--input-type=module', '-e', code],
      folderWithPackage(library, [consumers]),
    ]
  }
  const ended = spawnSync(command, args, {
    cwd,
    input: request,
    encoding: 'utf8',
    maxBuffer: 2 ** 26,
    timeout: 30 * 60_000,
  })
  if (ended.status === 0) return JSON.parse(ended.stdout.trim().split('\n').at(-1)).times
  // what took the process down took the others' times with it
  if (paths.length > 2) {
    const alone = paths.slice(1).map((path) => timesOf(form, dtype, [paths[0], path]))
    return [alone.map(([dense]) => dense).find(Array.isArray) ?? alone[0][0], ...alone.map(([, pruned]) => pruned)]
  }
  const lines = ended.stderr.trim().split('\n')
  const error = `ended with ${ended.status ?? ended.signal}: ${lines.find((line) => /Error/.test(line)) ?? lines.at(-1)}`
  return paths.map(() => ({ error }))
}

const median = (numbers) => numbers.toSorted((a, b) => a - b)[Math.floor(numbers.length / 2)]

/** `812 → 950 (1.17x)` tokens a second, the ratio that of rounds side by side; a star where the pruned one is not faster. */
function speedup(count, dense, pruned, part) {
  const failed = [dense, pruned].find((times) => !Array.isArray(times))
  if (failed !== undefined) return `failed: ${wordsOf(failed.error)}`
  const [before, after] = [dense, pruned].map((times) => count / median(times.map((time) => time[part])))
  const gain = median(pruned.map((time, round) => dense[round][part] / time[part]))
  const shown = (rate) => rate.toFixed(rate < 100 ? 1 : 0)
  return `${shown(before)} → ${shown(after)} (${gain.toFixed(2)}x)${gain > 1 ? '' : ' ★'}`
}

/** An error or a reason as a cell of the table. */
const wordsOf = (text) => text.split('\n')[0].replaceAll('|', '/').replaceAll(folder, '').slice(0, 220)

/** What is said of one format: a row for each plan and consumer. */
async function cellsOf(format) {
  const [form, type] = format.split(':')
  const rowsFound = []
  const paths = new Map()
  const pathOf = (name) => join(folder, form === 'gguf' ? `${name}.gguf` : name)
  let denseBytes
  try {
    denseBytes = await write(format, emptyPlan, pathOf('dense'))
  } catch (error) {
    return [{ plan: 'any', format, words: `no form: ${wordsOf(error.message)}` }]
  }
  for (const [name, plan] of once.has(format) ? [oncePlan] : plans) {
    say(`${format}, ${name}`)
    try {
      const bytes = await write(format, plan, pathOf(name))
      paths.set(name, pathOf(name))
      rowsFound.push(...(await consumersOf(pathOf(name), plan, { plan: name, format, denseBytes, bytes })))
    } catch (error) {
      const kind = error.code === 'PLAN' || error.code === 'UNSUPPORTED_MODEL' ? 'no form' : 'failed'
      rowsFound.push({ plan: name, format, words: `${kind}: ${wordsOf(error.message)}` })
    }
  }
  const toTime = rowsFound.filter(({ consumer, agreement }) => agreement && consumer === timers[form]?.consumer)
  if (prompt !== undefined && timed.has(format) && toTime.length > 0) {
    say(`${format}, speeds`)
    const [dense, ...pruned] = timesOf(form, type, [pathOf('dense'), ...toTime.map(({ plan }) => paths.get(plan))])
    for (const [i, row] of toTime.entries()) row.times = { dense, pruned: pruned[i] }
  }
  return rowsFound
}

async function consumersOf(path, plan, about) {
  if (about.format === 'mergekit')
    return [{ ...about, bytes: undefined, consumer: 'mergekit-yaml', words: 'a recipe, not run here' }]
  const results = await verifyExport(path, model, plan, rows, { logits: logits.get(plan), modulesFrom: [consumers] })
  // our own reader is named only where something is wrong
  const shown = results.filter(
    ({ consumer, status }) => consumer !== 'blockpruner' || status === 'disagrees' || status === 'failed',
  )
  return shown.map(({ consumer, status, detail, agreement }) => {
    if (agreement === undefined) return { ...about, consumer, words: `${status}: ${wordsOf(detail)}` }
    software.add(`${consumer} ${detail}`)
    return { ...about, consumer, agreement, isWrong: status === 'disagrees' }
  })
}

const shownName = (format) => (format === 'gguf' ? 'gguf as stored' : format.replace(':', ' '))

function lineOf({ plan, format, denseBytes, bytes, consumer = '–', agreement, isWrong, times, words }) {
  const size = bytes === undefined ? '–' : `${(denseBytes / 1e6).toFixed(2)} → ${(bytes / 1e6).toFixed(2)}`
  const compared =
    agreement === undefined
      ? [words, '–']
      : [`${(100 * agreement.topOne).toFixed(1)}${isWrong ? ' DISAGREES' : ''}`, agreement.meanKl.toExponential(1)]
  const speeds =
    times === undefined
      ? [agreement === undefined ? '–' : 'not timed', '–']
      : [
          speedup(prompt.length, times.dense, times.pruned, 'prompt'),
          speedup(tokens, times.dense, times.pruned, 'generation'),
        ]
  return `| ${[plan, shownName(format), size, consumer, ...compared, ...speeds].join(' | ')} |`
}

const begin = performance.now()
const say = (text) => process.stderr.write(`${((performance.now() - begin) / 1000).toFixed(0)} s: ${text}\n`)
const folder = mkdtempSync(join(tmpdir(), 'exports-'))
const software = new Set()
const model = await loadModel(options.model)
const plans = options.plans.split(',').map((name) => [name, planOf[name](model.blocks)])
const oncePlan = plans.find(([name]) => name === 'mixed') ?? plans[0]
const text = { dataset: 'embedded:test', seed: 42 }
const rows = await readRows(model, { ...text, nsamples: 2, seqlen: 64 })
const isDecoder = model.architecture.family === 'decoder'
const context = model.config.max_position_embeddings ?? model.config.n_positions ?? Number.POSITIVE_INFINITY
const seqlen = Math.min(Number(options.prompt), context - tokens - 8)
const prompt = isDecoder ? [...(await readRows(model, { ...text, nsamples: 1, seqlen })).ids] : undefined
const logits = new Map()
const found = []
try {
  const engine = openEngine(model, { threads })
  for (const [, plan] of plans) logits.set(plan, await predict(model, engine, rows, plan))
  await engine.close()
  for (const format of formats) {
    found.push(...(await cellsOf(format)))
    for (const name of readdirSync(folder)) rmSync(join(folder, name), { recursive: true })
  }
} finally {
  rmSync(folder, { recursive: true, force: true })
}

console.log(`${cpus()[0].model}, ${cpus().length} logical cores, ${threads} used; node ${process.version}`)
console.log(`${Object.entries(versions()).flat().join(' ')}; ${[...software].join('; ')}`)
const speeds = isDecoder
  ? `a prompt of ${prompt.length} tokens and ${tokens} generated, median of ${rounds} rounds`
  : 'decoders only'
console.log(
  `${options.model}, compared at ${rows.rows} x ${rows.rowLength} tokens; speeds: ${speeds}, ★ not faster than dense\n`,
)
for (const [name, plan] of plans) {
  const left = model.parameters - removedParameters(model, plan)
  const narrowed = Object.keys(plan.units).length
  const what = [
    plan.blocks.length > 0 ? `without ${plan.blocks.length} of ${model.blocks.length} blocks` : '',
    narrowed > 0 ? `${narrowed} blocks narrower` : '',
  ]
  const times = (model.parameters / left).toFixed(2)
  console.log(
    `- ${name}: ${what.filter(Boolean).join(', ')}; ${(left / 1e6).toFixed(2)} M of ${(model.parameters / 1e6).toFixed(2)} M parameters left, dense has ${times}x as many`,
  )
}
console.log(
  '\n| plan | format | file, MB, dense → pruned | consumer | top-1, % | mean KL, nats | prompt, tokens/s, dense → pruned | generation, tokens/s, dense → pruned |',
)
console.log('|---|---|---:|---|---:|---:|---:|---:|')
for (const [name] of plans)
  for (const row of found) if (row.plan === name || row.plan === 'any') console.log(lineOf({ ...row, plan: name }))
const single = formats.filter((format) => once.has(format))
if (single.length > 0 && plans.length > 1) {
  console.log(`\nof ${oncePlan[0]} only: ${single.map(shownName).join(', ')} (--all for every plan)`)
}
console.log(`\n${((performance.now() - begin) / 60_000).toFixed(1)} minutes`)
process.exit()
