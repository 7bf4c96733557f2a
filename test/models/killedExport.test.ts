import { createHash } from 'node:crypto'
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { Random } from '../../src/tensor/random.ts'
import { writeRandomLlama } from '../export/randomLlama.ts'
import { blockpruner } from '../program/commandLine.ts'

const kills = 5
const layers = 6

let folder = ''
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'killed-export-'))
  await writeRandomLlama(join(folder, 'dense'), { layers, channels: 16384 })
  writeFileSync(join(folder, 'plan.json'), JSON.stringify(planFile))
})
afterAll(() => rmSync(folder, { recursive: true }))

const hash = '0'.repeat(64)
const planFile = {
  version: 1,
  model: { id: 'dense', modelType: 'llama', sha256: hash, parameters: 1 },
  method: 'blockpruner',
  options: {},
  calibration: { source: 'none', rows: 1, rowLength: 1, tokens: 1, bos: 'none', sha256: hash, fingerprints: [] },
  seed: 1,
  versions: {},
  dense: { loss: 1, perplexity: Math.E },
  steps: [],
  complete: true,
  plan: { blocks: ['decoder.2.attention', 'decoder.3.mlp'], units: {} },
}

/** Fired every two milliseconds while a program runs. */
function watch(look: () => void): () => void {
  const timer = setInterval(look, 2)
  return () => clearInterval(timer)
}

test.each([
  ['huggingface', 'model'],
  ['gguf', 'model.gguf'],
  ['onnx', 'onnx'],
  ['nemotron', 'nemotron'],
])('an export to %s that is killed at random moments is not there, or whole', async (format, name) => {
  const root = join(folder, format)
  mkdirSync(root)
  const output = join(root, name)
  const args = ['apply', '--model', join(folder, 'dense'), '--plan', join(folder, 'plan.json'), '--output', output]
  const options = ['--format', format, '--allow-other-model', '--no-verify', '--quiet']
  const begun = (before: readonly string[]) =>
    readdirSync(root).some((entry) => entry.endsWith('.tmp') && !before.includes(entry))

  let [begunMs, writtenMs] = [0, 0]
  const stop = watch(() => {
    if (begunMs === 0 && begun([])) begunMs = performance.now()
    if (writtenMs === 0 && existsSync(output)) writtenMs = performance.now()
  })
  expect(await blockpruner([...args, ...options])).toMatchObject({ code: 0 })
  stop()
  const whole = digestOf(root)
  const writeMs = writtenMs - begunMs
  expect(begunMs).toBeGreaterThan(0)

  const random = new Random(5)
  let inTheMiddle = 0
  for (let kill = 0; kill < kills; kill++) {
    rmSync(output, { recursive: true, force: true })
    const afterMs = random.uniform() * writeMs
    const before = readdirSync(root)
    await blockpruner([...args, ...options], (end) => {
      const stop = watch(() => {
        if (!begun(before)) return
        stop()
        setTimeout(() => end('SIGKILL'), afterMs)
      })
    })
    const left = readdirSync(root)
    if (left.some((entry) => entry.endsWith('.tmp'))) inTheMiddle += 1
    // at most the temporary of this run: each cleans up after the one before
    expect(left.length).toBeLessThanOrEqual(1)
    if (existsSync(output)) expect(digestOf(root)).toBe(whole)
  }
  process.stderr.write(
    `${format}: ${inTheMiddle} of ${kills} kills fell into the ${writeMs.toFixed(0)} ms of writing\n`,
  )
  expect(inTheMiddle).toBeGreaterThan(0)
  rmSync(output, { recursive: true, force: true })
  expect(await blockpruner([...args, ...options])).toMatchObject({ code: 0 })
  expect(readdirSync(root)).toEqual([name])
  expect(digestOf(root)).toBe(whole)
})

/** Names and bytes of everything below a folder. */
function digestOf(root: string): string {
  const hash = createHash('sha256')
  for (const entry of readdirSync(root, { recursive: true, withFileTypes: true }).toSorted((a, b) =>
    join(a.parentPath, a.name) < join(b.parentPath, b.name) ? -1 : 1,
  )) {
    const path = join(entry.parentPath, entry.name)
    hash.update(path)
    if (entry.isFile()) hash.update(readFileSync(path))
  }
  return hash.digest('hex')
}
