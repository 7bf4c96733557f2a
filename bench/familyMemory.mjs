// Peak memory of one greedy step of each family, on checkpoints of random weights with some 250 million parameters.
//   node bench/familyMemory.mjs --python PYTHON [--folder FOLDER] [--families llama,bert] [--rows 4] [--row-length 256]
//       [--hidden 1024] [--layers 16] [--vocabulary 32768]        (after npm run build)
// PYTHON has torch, transformers and safetensors; family_speed.py makes each checkpoint, which is deleted after use.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { cpus, tmpdir } from 'node:os'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { parseArgs } from 'node:util'
import { setV8Flags } from '../dist/cli/v8Flags.js'
import { families } from './familyRows.mjs'

setV8Flags()

const { values } = parseArgs({
  options: {
    python: { type: 'string', default: process.env.BLOCKPRUNER_PYTHON },
    folder: { type: 'string', default: tmpdir() },
    families: { type: 'string', default: families.join(',') },
    rows: { type: 'string', default: '4' },
    'row-length': { type: 'string', default: '256' },
    hidden: { type: 'string', default: '1024' },
    layers: { type: 'string', default: '16' },
    vocabulary: { type: 'string', default: '32768' },
  },
})
if (values.python === undefined) throw new Error('--python: name a python that has torch and transformers')

/** What a program printed; an error where it failed. */
async function outputOf(program, args) {
  const child = spawn(program, args, { stdio: ['ignore', 'pipe', 'inherit'] })
  const [output, [code]] = await Promise.all([text(child.stdout), once(child, 'close')])
  if (code !== 0) throw new Error(`${program} ${args.join(' ')}: ended with ${code}`)
  return output.trim()
}

/** MiB beside weights and trunk that a greedy step may need. */
const limit = 600
const shape = ['--rows', values.rows, '--row-length', values['row-length']]
const above = []
console.log(
  `${cpus()[0].model}, ${cpus().length} logical cores, node ${process.version}; ${values.rows} x ${values['row-length']} tokens, MiB\n`,
)
console.log('| family | parameters | weights | trunk | the rest | peak |')
console.log('|---|---:|---:|---:|---:|---:|')
const folder = await mkdtemp(join(values.folder, 'family-memory-'))
try {
  for (const family of values.families.split(',')) {
    const { hidden, layers, vocabulary } = values
    await outputOf(values.python, ['bench/family_speed.py', folder, family, hidden, layers, vocabulary, '2', 'wall'])
    const measured = await outputOf(process.execPath, [
      'bench/memory.mjs',
      '--json',
      '--model',
      join(folder, family),
      ...shape,
    ])
    const { parameters, ...sizes } = JSON.parse(measured)
    const [weights, trunk, rest, peak] = ['weights', 'trunk', 'rest', 'peak'].map((part) => sizes[part].toFixed(0))
    const millions = `${(parameters / 1e6).toFixed(0)} million`
    console.log(`| ${family} | ${millions} | ${weights} | ${trunk} | ${rest} | ${peak} |`)
    if (sizes.rest > limit) above.push(`${family}: ${rest}`)
    await rm(join(folder, family), { recursive: true })
  }
} finally {
  await rm(folder, { recursive: true, force: true })
}
console.log(above.length === 0 ? `\nnothing above ${limit}` : `\nabove ${limit}: ${above.join('; ')}`)
