// Peak memory of one greedy step against what it must hold: weights in float32 and the states of the trunk.
//   node bench/memory.mjs [--model M] [--rows 4] [--row-length 256]        (after npm run build)
import { cpus } from 'node:os'
import { resourceUsage } from 'node:process'
import { parseArgs } from 'node:util'
import { loadModel, openEngine, perplexityObjective, withoutBlock } from 'blockpruner'

const { values } = parseArgs({
  options: {
    model: { type: 'string', default: 'embedded' },
    rows: { type: 'string', default: '4' },
    'row-length': { type: 'string', default: '256' },
    candidates: { type: 'string', default: '12' },
  },
})
const [rows, rowLength, candidates] = [values.rows, values['row-length'], values.candidates].map(Number)
const model = await loadModel(values.model)
const engine = openEngine(model)
const vocabulary = model.sizes.V
const ids = Int32Array.from({ length: rows * rowLength }, (_, i) => (i * 7919) % vocabulary)
const objective = perplexityObjective(engine, { ids, rows, rowLength })
await objective.evaluate([{ blocks: [], units: {} }])
// the last blocks first, so that the whole trunk is held
const plans = model.blocks.slice(-candidates).map(({ id }) => withoutBlock({ blocks: [], units: {} }, id))
await objective.evaluate(plans)
await objective.evaluate(plans)
const peak = resourceUsage().maxRSS / 1024
const weights = (model.parameters * 4) / 2 ** 20
const trunk = (rows * rowLength * model.sizes.D * 4 * (model.blocks.length + 1)) / 2 ** 20
console.log(`${cpus()[0].model}, node ${process.version}; ${values.model}, ${rows} x ${rowLength} tokens`)
console.log(
  `peak ${peak.toFixed(0)} MiB = weights ${weights.toFixed(0)} + trunk ${trunk.toFixed(0)} + ${(peak - weights - trunk).toFixed(0)} MiB`,
)
process.exit()
