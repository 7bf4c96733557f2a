// Peak memory of one greedy step against what it must hold: weights in float32 and the states of the trunk.
//   node bench/memory.mjs [--model M] [--rows 4] [--row-length 256] [--json]        (after npm run build)
import { cpus } from 'node:os'
import { resourceUsage } from 'node:process'
import { parseArgs } from 'node:util'
import { loadModel, openEngine, perplexityObjective, withoutBlock } from 'blockpruner'
import { setV8Flags } from '../dist/cli/v8Flags.js'
import { rowsOf } from './familyRows.mjs'

setV8Flags()

const { values } = parseArgs({
  options: {
    model: { type: 'string', default: 'embedded' },
    rows: { type: 'string', default: '4' },
    'row-length': { type: 'string', default: '256' },
    candidates: { type: 'string', default: '12' },
    json: { type: 'boolean', default: false },
  },
})
const [rows, rowLength, candidates] = [values.rows, values['row-length'], values.candidates].map(Number)
const model = await loadModel(values.model)
const engine = openEngine(model)
const read = rowsOf(model.architecture.family, model.sizes.V, rows, rowLength)
const objective = perplexityObjective(engine, read)
await objective.evaluate([{ blocks: [], units: {} }])
// the last blocks first, so that the whole trunk is held
const plans = model.blocks.slice(-candidates).map(({ id }) => withoutBlock({ blocks: [], units: {} }, id))
await objective.evaluate(plans)
await objective.evaluate(plans)
const peak = resourceUsage().maxRSS / 1024
const weights = (model.parameters * 4) / 2 ** 20
const states = (stack, tokens) => tokens * (model.blocks.filter((block) => block.stack === stack).length + 1)
const length = { encoder: read.ids.length, decoder: (read.decoder ?? read).ids.length }
const stacks = Object.keys(model.architecture.stacks)
const trunk = (stacks.reduce((sum, stack) => sum + states(stack, length[stack]), 0) * model.sizes.D * 4) / 2 ** 20
const rest = peak - weights - trunk
if (values.json) {
  console.log(JSON.stringify({ parameters: model.parameters, peak, weights, trunk, rest }))
} else {
  console.log(`${cpus()[0].model}, node ${process.version}; ${values.model}, ${rows} x ${rowLength} tokens`)
  const parts = [`weights ${weights.toFixed(0)}`, `trunk ${trunk.toFixed(0)}`, `${rest.toFixed(0)} MiB`]
  console.log(`peak ${peak.toFixed(0)} MiB = ${parts.join(' + ')}`)
}
process.exit()
