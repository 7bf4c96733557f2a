// node docs/session.mjs MODEL.gguf [FOLDER]: the session of the README and of docs/session.md. Runs every command as it is printed, in
// FOLDER, where node_modules has blockpruner and node-llama-cpp (test/models/stranger.test.ts makes one: BLOCKPRUNER_PROJECT=FOLDER).
// Prints what the commands print on standard output; progress, on standard error, passes by.
import { spawnSync } from 'node:child_process'
import { readFileSync, rmSync, symlinkSync } from 'node:fs'
import { basename, join, resolve } from 'node:path'

const [model, folder = process.cwd()] = process.argv.slice(2)
if (model === undefined) {
  console.error('usage: node docs/session.mjs MODEL.gguf [FOLDER]')
  process.exit(2)
}
const name = basename(model)
const questions = ['What is the capital of France?', 'Why is the sky blue?']

// the commands name the model as if it lay in the folder
rmSync(join(folder, name), { force: true })
symlinkSync(resolve(model), join(folder, name))
rmSync(join(folder, 'run'), { recursive: true, force: true })
rmSync(join(folder, 'tenth.gguf'), { force: true })

function run(line) {
  console.log(`$ ${line}`)
  const words = line.match(/"[^"]*"|\S+/g).map((word) => word.replaceAll('"', ''))
  const options = { cwd: folder, encoding: 'utf8', stdio: ['ignore', 'pipe', 'inherit'] }
  const { status, stdout } = spawnSync(words[0], words.slice(1), options)
  console.log(`${stdout.trimEnd()}\n`)
  if (status !== 0) throw new Error(`${line}: ended with ${status}`)
}

run(
  `npx blockpruner prune --model ${name} --ratio 0.2 --search fast --nsamples 8 --seqlen 128 --format gguf --output run`,
)
run('npx blockpruner inspect run')
const { steps } = JSON.parse(readFileSync(join(folder, 'run/plan.json'), 'utf8'))
const tenth = steps.findIndex(({ ratio }) => ratio >= 0.1) + 1
const plan = `--model ${name} --plan run/plan.json`
run(`npx blockpruner apply ${plan} --steps ${tenth} --format gguf --output tenth.gguf`)
for (const given of [`${plan} --steps ${tenth}`, plan]) {
  run(`npx blockpruner evaluate ${given} --dataset embedded:test --nsamples 64 --seqlen 128`)
}
const example = 'node node_modules/blockpruner/examples/answer.mjs'
for (const question of questions) {
  for (const file of [name, 'tenth.gguf', 'run/model.gguf']) run(`${example} ${file} "${question}" 40`)
}
