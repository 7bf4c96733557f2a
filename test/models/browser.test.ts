import { spawnSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { exportOnnx } from '../../src/export/onnx.ts'
import { openModel } from '../../src/model/load.ts'
import { emptyPlan } from '../../src/model/plan.ts'
import type { PruningPlan } from '../../src/types.ts'
import { type Browser, findChromium, openPage } from './chromium.ts'

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
  readonly text: string
  readonly ids: readonly number[]
  readonly sizeBytes: number
  readonly tokensPerSecond: number
}
type Reports = Record<'dense' | 'pruned', Report>
const sides = ['dense', 'pruned'] as const

/** Keeps every line of facts that the page has shown. */
const keepFacts = `globalThis.facts = []
new MutationObserver(() => {
  for (const { textContent } of document.querySelectorAll('.facts')) facts.push(textContent)
}).observe(document, { childList: true, subtree: true, characterData: true })`

/** Opens the page with `dtype` chosen, waits for what it reports, and hands both to `use`. */
async function reported(dtype: string, use: (reports: Reports, page: Browser) => Promise<void>, webGpu = false) {
  // the address is made here: the page is an example in JavaScript, outside of this project's types
  const { serve } = await import(join(root, 'examples/browser/serve.mjs'))
  let onReport: (reports: Reports) => void = () => {}
  const done = new Promise<Reports>((resolve) => (onReport = resolve))
  const { server, address } = await serve({
    dense: join(folder, 'dense'),
    pruned: join(folder, 'pruned'),
    port: 0,
    modulesFrom: consumers,
    onReport: (reports: Reports) => onReport(reports),
  })
  const query = `dtype=${dtype}&prompt=${encodeURIComponent(prompt)}&report`
  const page = await openPage(chromium!, `${address}?${query}`, { script: keepFacts, webGpu })
  try {
    const late = new Promise<never>((_, reject) =>
      setTimeout(() => reject(new Error(`no report from the page: ${page.errors.join('; ')}`)), 400_000).unref(),
    )
    const reports = await Promise.race([done, late])
    const artefacts = process.env['BLOCKPRUNER_ARTEFACTS']
    if (artefacts !== undefined) {
      await mkdir(artefacts, { recursive: true })
      await writeFile(join(artefacts, `browser-${dtype}${webGpu ? '-webgpu' : ''}.png`), await page.screenshot())
    }
    await use(reports, page)
  } finally {
    await page.close()
    server.close()
    server.closeAllConnections()
  }
}

/** The ids are Node's, but for a near tie where the arithmetic is another. */
function expectTextOfNode(reports: Reports, dtype: string, isExact: boolean) {
  for (const side of sides) {
    expect(reports[side].error).toBeUndefined()
    const { parting, gap } = generateInNode(join(folder, side), dtype, reports[side].ids)
    if (isExact) expect(parting).toBe(-1)
    else expect(gap).toBeLessThan(nearTie)
    const same = parting < 0 ? 'the ids of Node' : `Node's ids up to ${parting}, a tie within ${gap.toFixed(3)}`
    const { sizeBytes, tokensPerSecond } = reports[side]
    process.stderr.write(
      `Chromium, ${side}, ${dtype}: ${same}, ${(sizeBytes / 1e6).toFixed(1)} MB, ${tokensPerSecond.toFixed(1)} tokens per second\n`,
    )
  }
}

describe.skipIf(chromium === undefined || !hasLibrary)('the page, in Chromium (needs it and transformers.js)', () => {
  test('generates the text of Node in fp32, tells the bytes while it loads, and shows a text with its spaces', async () => {
    await reported('fp32', async (reports, page) => {
      // float32 is the same everywhere
      expectTextOfNode(reports, 'fp32', true)
      expect(reports.pruned.sizeBytes).toBeLessThan(reports.dense.sizeBytes)
      const facts = (await page.evaluate('facts')) as string[]
      const megabytes = (reports.dense.sizeBytes / 1e6).toFixed(1)
      expect(facts.filter((text) => /^loading [\d.]+ of [\d.]+ MB$/.test(text))).toContain(
        `loading ${megabytes} of ${megabytes} MB`,
      )
      const shown = (await page.evaluate(`document.querySelector('#dense .text').textContent`)) as string
      expect(shown).toBe(prompt + reports.dense.text)
      // a word of its own, or what may follow one directly
      expect(shown.slice(prompt.length)).toMatch(/^( \S|[.,;:?!'])/)
      expect(await page.evaluate(`document.querySelector('[value=webgpu]').disabled`)).toBe(true)
      expect(
        await page.evaluate(`[...document.querySelectorAll('input, select, progress')].every((element) =>
        element.labels?.length > 0 || element.ariaLabel)`),
      ).toBe(true)
    })
  })

  test('generates the text of Node in q8, near ties apart', async () => {
    // kernels of 8 bits round their inputs each in their own way, which may turn a near tie
    await reported('q8', async (reports) => expectTextOfNode(reports, 'q8', false))
  })

  test('says in words which types a folder has where the one asked for is missing', async () => {
    await reported('q4', async (reports, page) => {
      const expected =
        'This folder has no q4 weights, only fp32 and q8. Choose another type above, or export again with --dtypes q4.'
      for (const side of sides) {
        expect(reports[side].error).toBe(expected)
        expect(await page.evaluate(`document.querySelector('#${side} .facts').textContent`)).toBe(expected)
      }
    })
  })

  test('runs on WebGPU where it is: here a card in software', async () => {
    await reported(
      'fp32',
      async (reports, page) => {
        expectTextOfNode(reports, 'fp32', false)
        expect(await page.evaluate(`document.querySelector('#dense .facts').textContent`)).toMatch(/ MB, WebGPU, /)
      },
      true,
    )
  })
})

/** Greedy text in Node: where it parts from `ids`, -1 for nowhere, and by how much of a logit. */
function generateInNode(path: string, dtype: string, ids: readonly number[]): { parting: number; gap: number } {
  const program = join(import.meta.dirname, 'generateInNode.mjs')
  const args = [program, path, dtype, prompt, `${newTokens}`, JSON.stringify(ids)]
  const { stdout, stderr } = spawnSync(process.execPath, args, { cwd: consumers, encoding: 'utf8' })
  if (stdout.trim() === '') throw new Error(`transformers.js in Node said nothing: ${stderr.slice(-400)}`)
  return JSON.parse(stdout.trim().split('\n').at(-1)!)
}
