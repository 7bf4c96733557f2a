// Seconds of the dense model and of plans without a block on a device, against the CPU's: medians, the two in turn.
//   node bench/devices.mjs [--device webgpu] [--model M] [--rows 4] [--row-length 256] [--repeats 5]        (after npm run build)
import { parseArgs } from 'node:util'
import { chooseDevice, loadModel, openEngine, perplexityObjective, withoutBlock } from 'blockpruner'
import { setV8Flags } from '../dist/cli/v8Flags.js'
import { rowsOf } from './familyRows.mjs'

setV8Flags()

const { values } = parseArgs({
  options: {
    device: { type: 'string', default: 'webgpu' },
    model: { type: 'string', default: 'embedded' },
    rows: { type: 'string', default: '4' },
    'row-length': { type: 'string', default: '256' },
    candidates: { type: 'string', default: '4' },
    repeats: { type: 'string', default: '5' },
  },
})
const [rows, rowLength, candidates, repeats] = [
  values.rows,
  values['row-length'],
  values.candidates,
  values.repeats,
].map(Number)
const model = await loadModel(values.model)
const { device, text } = await chooseDevice(model, values.device)
console.log(text)
const dense = { blocks: [], units: {} }
const plans = [dense, ...model.blocks.slice(0, candidates).map(({ id }) => withoutBlock(dense, id))]
const read = rowsOf(model.architecture.family, model.sizes.V, rows, rowLength)
const sides = ['cpu', device].map((name) => {
  const engine = openEngine(model, { device: name })
  return { name, engine, objective: perplexityObjective(engine, read), seconds: [], losses: [] }
})
for (let repeat = -1; repeat < repeats; repeat++) {
  for (const side of sides) {
    const begun = performance.now()
    side.losses = await side.objective.evaluate(plans)
    if (repeat >= 0) side.seconds.push((performance.now() - begun) / 1000)
  }
}
const median = (list) => [...list].sort((a, b) => a - b)[list.length >> 1]
const [cpu, other] = sides
const difference = Math.max(...cpu.losses.map((loss, i) => Math.abs(loss - other.losses[i])))
for (const { name, seconds } of sides) console.log(`${name.padEnd(8)} ${median(seconds).toFixed(3)} s`)
console.log(
  `${(median(cpu.seconds) / median(other.seconds)).toFixed(3)} x the CPU's speed; losses differ by at most ${difference.toExponential(1)} nats`,
)
for (const { engine } of sides) await engine.close()
await model.weights.close()
