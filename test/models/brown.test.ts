import { spawnSync } from 'node:child_process'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { loadModel } from '../../src/model/load.ts'
import { readRows } from '../../src/run/calibrate.ts'
import { evaluateModel } from '../../src/run/evaluateModel.ts'
import { pruneAny } from '../../src/run/pruneModel.ts'
import type { AnyPruneRequest } from '../../src/run/pruneRequest.ts'
import type { TokenRows } from '../../src/types.ts'
import { expectError } from '../measured.ts'

/**
 * A decoder, an encoder and an encoder-decoder that were trained on the embedded text, from the search to a reopened export.
 * BLOCKPRUNER_PYTHON names a python with torch and transformers.
 */
const folder = resolve(import.meta.dirname, '../fixtures/brown')
const python = process.env['BLOCKPRUNER_PYTHON']

const names = ['brown-gpt2', 'brown-bert', 'brown-t5'] as const

/** Nats that held-out text loses or gains at 15 % of the parameters, as measured; the trained BERT's blocks add next to nothing. */
const costs = {
  'brown-gpt2': { blockpruner: 0.05, finercut: 0.055 },
  'brown-bert': { blockpruner: 0.0073, finercut: 0.0057 },
  'brown-t5': { blockpruner: 0.28, finercut: 0.045 },
}

let work = ''
beforeAll(async () => {
  work = await mkdtemp(join(tmpdir(), 'brown-'))
})
afterAll(() => rm(work, { recursive: true, force: true }))

describe.each(names)('%s', (name) => {
  const model = join(folder, name)
  const heldOut = { dataset: 'embedded:test', nsamples: 16, seqlen: 128, seed: 42 }

  const run = (method: string, output: string, given: Partial<AnyPruneRequest> = {}) =>
    pruneAny({
      model,
      output: join(work, `${name}-${output}`),
      method,
      budget: { ratio: 0.15 },
      calibration: { dataset: 'embedded', nsamples: 8, seqlen: 64, seed: 42 },
      seed: 42,
      export: false,
      ...given,
    })

  test.skipIf(python === undefined)(
    'has the held-out loss that transformers gives (needs BLOCKPRUNER_PYTHON)',
    async () => {
      const loaded = await loadModel(model)
      const rows = await readRows(loaded, heldOut)
      await loaded.weights.close()
      const result = await evaluateModel({ model, rows: heldOut })
      if (result.task === 'hiddenStates') throw new Error(`${name} has a head`)
      const own = result.task === 'nextToken' ? result.dense.natsPerToken : result.dense.loss
      const expected = await lossInPython(model, join(work, `${name}.json`), rows)
      const difference = Math.abs(own / expected - 1)
      process.stderr.write(
        `${name}: held-out loss differs from transformers' by ${difference.toExponential(1)} relative\n`,
      )
      expectError(difference, 4.1e-8)
      // trained: far below a guess among 4,096 words
      expect(own).toBeLessThan(Math.log(4096) - 1.5)
    },
  )

  test.each(['blockpruner', 'finercut'] as const)(
    '%s prunes it to the budget, and the result is measured on held-out text',
    async (method) => {
      const { file, planPath } = await run(method, method)
      expect(file.complete).toBe(true)
      expect(file.steps.at(-1)!.ratio).toBeGreaterThanOrEqual(0.15)
      const result = await evaluateModel({ model, plan: planPath, rows: heldOut })
      if (result.task === 'hiddenStates') throw new Error(`${name} has a head`)
      expect(result.heldOut).toBe(true)
      const [dense, pruned] =
        result.task === 'nextToken'
          ? [result.dense.natsPerToken, result.pruned!.natsPerToken]
          : [result.dense.loss, result.pruned!.loss]
      const cost = pruned - dense
      process.stderr.write(`${name}, ${method}: held-out loss ${dense.toFixed(4)}, pruned ${cost.toFixed(4)} more\n`)
      expectError(Math.abs(cost), costs[name][method])
      expect(pruned).not.toBe(dense)
    },
  )

  test.each(['perplexity', 'js'] as const)(
    'pruned by %s to a stock checkpoint, its export reopens with the same loss',
    async (by) => {
      const { export: written, file } = await run('blockpruner', `stock-${by}`, {
        searching: { layout: 'stock', objectives: [by], checkRows: 0 },
        ...(name === 'brown-bert' && { outputNorms: 'drop' }),
        export: true,
      })
      expect(file.plan.outputNorms).toBe(name === 'brown-bert' ? 'drop' : undefined)
      expect(['whole', 'repacked']).toContain(written!.form)
      expectError(written!.difference, 0)
      expectError(Math.abs(written!.loss - file.steps.at(-1)!.loss), 0)
    },
  )
})

async function lossInPython(model: string, path: string, rows: TokenRows): Promise<number> {
  const table = (values: Int32Array, { rowLength }: TokenRows) =>
    Array.from({ length: rows.rows }, (_, row) => [...values.subarray(row * rowLength, (row + 1) * rowLength)])
  const { decoder, targets } = rows
  const written = {
    ids: table(rows.ids, rows),
    lengths: Array(rows.rows).fill(rows.rowLength),
    nextToken: decoder === undefined && targets === undefined,
    ...(targets && { targets: table(targets, rows) }),
    ...(decoder && { decoder: { ids: table(decoder.ids, decoder), targets: table(decoder.targets!, decoder) } }),
  }
  await writeFile(path, JSON.stringify(written))
  const script = join(import.meta.dirname, 'score_rows.py')
  const { status, stdout, stderr } = spawnSync(python!, [script, model, path], { encoding: 'utf8', maxBuffer: 2 ** 28 })
  if (status !== 0) throw new Error(stderr)
  return (JSON.parse(stdout) as { readonly loss: number }).loss
}
