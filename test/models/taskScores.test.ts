import { spawnSync } from 'node:child_process'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { basename, join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { sentenceRows } from '../../src/data/sentenceRows.ts'
import { taskRows } from '../../src/data/taskRows.ts'
import { readTexts } from '../../src/data/textSource.ts'
import { loadTokenizer } from '../../src/data/tokenizer.ts'
import { openLocalEngine } from '../../src/engine/localEngine.ts'
import { embeddingsOf } from '../../src/evaluate/embeddings.ts'
import { measurePerplexity } from '../../src/evaluate/perplexity.ts'
import { loadModel } from '../../src/model/load.ts'
import { emptyPlan } from '../../src/model/plan.ts'
import { type Task, tasksOf } from '../../src/model/task.ts'
import type { TokenRows } from '../../src/types.ts'

/**
 * Losses of real models of every kind and sentence embeddings of encoders without a head, compared with transformers on the same rows.
 * BLOCKPRUNER_PYTHON names a python with torch and transformers, BLOCKPRUNER_TEST_ENCODERS the model folders, separated by commas.
 */
const python = process.env['BLOCKPRUNER_PYTHON']
const folders = process.env['BLOCKPRUNER_TEST_ENCODERS']?.split(',') ?? []

let work = ''
beforeAll(async () => {
  work = await mkdtemp(join(tmpdir(), 'task-scores-'))
})
afterAll(() => rm(work, { recursive: true, force: true }))

if (python === undefined || folders.length === 0) {
  test.skip('real encoders: set BLOCKPRUNER_PYTHON and BLOCKPRUNER_TEST_ENCODERS', () => {})
}

describe.each(python === undefined ? [] : folders)('%s', (folder) => {
  test('gives the numbers of transformers', async () => {
    const model = await loadModel(folder)
    const task = tasksOf(model)[0]!
    const engine = openLocalEngine(model)
    if (task === 'hiddenStates') {
      // a batch of 20 sentences padded together here, each of them alone there
      const texts = await readTexts('embedded:test')
      const tokenizer = await loadTokenizer(model.assets, model.sizes['V']!)
      const [sentences] = sentenceRows(texts, tokenizer, { sentences: 20, padTokenId: 0, rowLength: 128 })
      expect(new Set(sentences!.lengths).size).toBeGreaterThan(5)
      const { embeddings } = await scoreInPython(folder, task, sentences!)
      expect(embeddings).toHaveLength(20)
      for (const [row, own] of (await embeddingsOf(engine, sentences!, emptyPlan)).entries()) {
        const worst = Math.max(...own.map((value, i) => Math.abs(value - embeddings![row]![i]!)))
        expect(worst).toBeLessThan(1e-4)
      }
    } else {
      const rows = await taskRows(task, model, { dataset: 'embedded:test', rowLength: 128, rows: 16, seed: 3 })
      const expected = await scoreInPython(folder, task, rows)
      const { natsPerToken } = await measurePerplexity(engine, rows, emptyPlan)
      expect(Math.abs(natsPerToken / expected.loss! - 1)).toBeLessThan(1e-4)
      expect(natsPerToken).toBeLessThan(Math.log(model.sizes['V']!) - 1)
    }
    await engine.close()
    await model.weights.close()
  })
})

async function scoreInPython(folder: string, task: Task, rows: TokenRows) {
  const path = join(work, `${basename(folder)}.json`)
  const table = (values: Int32Array, { rowLength }: TokenRows) =>
    Array.from({ length: rows.rows }, (_, row) => [...values.subarray(row * rowLength, (row + 1) * rowLength)])
  const { decoder, targets } = rows
  const written = {
    ids: table(rows.ids, rows),
    lengths: rows.lengths ? [...rows.lengths] : Array(rows.rows).fill(rows.rowLength),
    ...(task === 'nextToken' && { nextToken: true }),
    ...(targets && task !== 'hiddenStates' && { targets: table(targets, rows) }),
    ...(decoder && { decoder: { ids: table(decoder.ids, decoder), targets: table(decoder.targets!, decoder) } }),
  }
  await writeFile(path, JSON.stringify(written))
  const script = join(import.meta.dirname, 'score_rows.py')
  const { status, stdout, stderr } = spawnSync(python!, [script, folder, path], {
    encoding: 'utf8',
    maxBuffer: 2 ** 28,
  })
  if (status !== 0) throw new Error(stderr)
  return JSON.parse(stdout) as { readonly loss?: number; readonly embeddings?: number[][] }
}
