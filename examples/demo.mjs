// `npm run demo`: prunes the embedded model as a user would, shows the plan and measures it on text the search never saw.
import { spawnSync } from 'node:child_process'
import { mkdtempSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

const main = fileURLToPath(new URL('../dist/cli/main.js', import.meta.url))
const output = join(mkdtempSync(join(tmpdir(), 'blockpruner-demo-')), 'run')

for (const line of [
  `prune --output ${output} --remove 6 --nsamples 8`,
  `inspect ${output}`,
  `evaluate --plan ${join(output, 'plan.json')} --dataset embedded:test --nsamples 16`,
]) {
  console.log(`\n$ blockpruner ${line}\n`)
  const { status } = spawnSync(process.execPath, [main, ...line.split(' ')], { stdio: 'inherit' })
  if (status !== 0) process.exit(status ?? 1)
}
