import { spawnSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { exportOnnx } from '../../src/export/onnx.ts'
import { openModel } from '../../src/model/load.ts'
import { emptyPlan } from '../../src/model/plan.ts'
import type { PruningPlan } from '../../src/types.ts'
import { findChromium, openPage } from './chromium.ts'

/**
 * The page of examples/browser in a real browser: the embedded model, dense and pruned, generates the text that it
 * generates in Node. Needs Chromium, and transformers.js: npm install --prefix test/consumers.
 */
const root = resolve(import.meta.dirname, '../..')
const consumers = join(root, 'test/consumers')
const prompt = 'The jury said'
/** As examples/browser/main.js asks for. */
const newTokens = 48
/** Logits closer than this are a tie to a model of 8 bits: what its rounding moves them by. */
const nearTie = 0.25

const plan: PruningPlan = {
  blocks: ['decoder.4.attention', 'decoder.4.mlp', 'decoder.6.mlp', 'decoder.9.attention'],
  units: { 'decoder.7.mlp': [0, 1, 2, 3] },
}

const chromium = findChromium()
const hasLibrary = existsSync(join(consumers, 'node_modules/@huggingface/transformers'))
if (!hasLibrary) process.stderr.write('transformers.js is not here: npm install --prefix test/consumers\n')

let folder = ''
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'browser-'))
  const model = await openModel('brown-llama', join(root, 'models/brown-llama'))
  await exportOnnx(model, emptyPlan, join(folder, 'dense'), { dtypes: ['fp32', 'q8'] })
  await exportOnnx(model, plan, join(folder, 'pruned'), { dtypes: ['fp32', 'q8'] })
  await model.weights.close()
})
afterAll(() => rm(folder, { recursive: true }))

interface Report {
  readonly error?: string
  readonly ids: readonly number[]
  readonly sizeBytes: number
  readonly tokensPerSecond: number
}

for (const dtype of ['fp32', 'q8']) {
  test.skipIf(chromium === undefined || !hasLibrary)(`generates in Chromium the text of Node, ${dtype}`, async () => {
    // the address is made here: the page is an example in JavaScript, outside of this project's types
    const { serve } = await import(join(root, 'examples/browser/serve.mjs'))
    let onReport: (report: Record<'dense' | 'pruned', Report>) => void = () => {}
    const reported = new Promise<Record<'dense' | 'pruned', Report>>((done) => (onReport = done))
    const { server, address } = await serve({
      dense: join(folder, 'dense'),
      pruned: join(folder, 'pruned'),
      port: 0,
      modulesFrom: consumers,
      onReport: (report: Record<'dense' | 'pruned', Report>) => onReport(report),
    })
    const page = await openPage(chromium!, `${address}?dtype=${dtype}&prompt=${encodeURIComponent(prompt)}&report`)
    try {
      const late = new Promise<never>((_, reject) =>
        setTimeout(() => reject(new Error(`no report from the page: ${page.errors.join('; ')}`)), 180_000).unref(),
      )
      const report = await Promise.race([reported, late])
      const artefacts = process.env['BLOCKPRUNER_ARTEFACTS']
      if (artefacts !== undefined) {
        await mkdir(artefacts, { recursive: true })
        await writeFile(join(artefacts, `browser-${dtype}.png`), await page.screenshot())
      }
      for (const side of ['dense', 'pruned'] as const) {
        expect(report[side].error).toBeUndefined()
        const { parting, gap } = generateInNode(join(folder, side), dtype, report[side].ids)
        // float32 is the same everywhere; kernels of 8 bits round their inputs each in their own way, which may turn a near tie
        if (dtype === 'fp32') expect(parting).toBe(-1)
        else expect(gap).toBeLessThan(nearTie)
        const same = parting < 0 ? 'the ids of Node' : `Node's ids up to ${parting}, a tie within ${gap.toFixed(3)}`
        const { sizeBytes, tokensPerSecond } = report[side]
        process.stderr.write(
          `Chromium, ${side}, ${dtype}: ${same}, ${(sizeBytes / 1e6).toFixed(1)} MB, ${tokensPerSecond.toFixed(1)} tokens per second\n`,
        )
      }
      expect(report.pruned.sizeBytes).toBeLessThan(report.dense.sizeBytes)
    } finally {
      await page.close()
      server.close()
      server.closeAllConnections()
    }
  })
}

/** Greedy text in Node: where it parts from `ids`, -1 for nowhere, and by how much of a logit. */
function generateInNode(path: string, dtype: string, ids: readonly number[]): { parting: number; gap: number } {
  const program = join(import.meta.dirname, 'generateInNode.mjs')
  const args = [program, path, dtype, prompt, `${newTokens}`, JSON.stringify(ids)]
  const { stdout, stderr } = spawnSync(process.execPath, args, { cwd: consumers, encoding: 'utf8' })
  if (stdout.trim() === '') throw new Error(`transformers.js in Node said nothing: ${stderr.slice(-400)}`)
  return JSON.parse(stdout.trim().split('\n').at(-1)!)
}
