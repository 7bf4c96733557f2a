import { spawnSync } from 'node:child_process'
import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { openForward } from '../../src/engine/forward.ts'
import { exportHuggingFace } from '../../src/export/huggingface.ts'
import { openModel } from '../../src/model/load.ts'
import type { Model } from '../../src/model/model.ts'
import { tasksOf } from '../../src/model/task.ts'
import { Random } from '../../src/tensor/random.ts'
import type { PruningPlan, TokenRows } from '../../src/types.ts'
import { familyPlans } from '../export/familyPlans.ts'

/**
 * Exports of every family, and of the forms they come in, for plans of every shape: loaded in transformers they give our
 * engine's numbers, with every kind of cache and padding. BLOCKPRUNER_PYTHON names a python with torch and transformers.
 */
const python = process.env['BLOCKPRUNER_PYTHON']
const fixtures = join(import.meta.dirname, '../fixtures')
const folders = ['tiny-random', 'tiny-variants', 'tiny-encoders']
const names = (await Promise.all(folders.map((folder) => modelsIn(folder)))).flat()

async function modelsIn(folder: string): Promise<string[]> {
  const entries = await readdir(join(fixtures, folder), { withFileTypes: true })
  return entries.filter((entry) => entry.isDirectory()).map(({ name }) => `${folder}/${name}`)
}

test.skipIf(python === undefined).for(names)(
  'exports of %s give the numbers of the engine in transformers (needs BLOCKPRUNER_PYTHON)',
  { timeout: 600_000 },
  async (name) => {
    const model = await openModel(name, join(fixtures, name))
    const target = await mkdtemp(join(tmpdir(), 'export-family-'))
    try {
      const cases: object[] = []
      for (const [planName, plan] of Object.entries(familyPlans(model))) {
        cases.push({ name: `${name} ${planName}`, ...(await exportCase(model, plan, join(target, planName))) })
      }
      await writeFile(join(target, 'cases.json'), JSON.stringify(cases))
      const script = join(import.meta.dirname, 'verify_families.py')
      const { stdout, stderr } = spawnSync(python!, [script, join(target, 'cases.json')], {
        encoding: 'utf8',
        env: { ...process.env, HF_HUB_OFFLINE: '1', HF_MODULES_CACHE: join(target, 'modules') },
      })
      process.stdout.write(stdout)
      expect(stdout.match(/^FAIL .*/gm) ?? [], stderr.slice(-2000)).toEqual([])
      expect(stdout, stderr.slice(-2000)).toMatch(/^(\d+) of \1 checks passed$/m)
    } finally {
      await model.weights.close()
      await rm(target, { recursive: true })
    }
  },
)

/** Exports, and writes beside the export what the engine computes of the plan for tokens drawn with a fixed seed. */
async function exportCase(model: Model, plan: PruningPlan, directory: string): Promise<object> {
  const { form } = await exportHuggingFace(model, plan, directory)
  const random = new Random(1)
  const draw = (rows: number, rowLength: number): TokenRows => {
    const ids = Int32Array.from({ length: rows * rowLength }, () => 3 + random.below(model.sizes['V']! - 3))
    return { ids, rows, rowLength }
  }
  const decoder = model.architecture.family === 'encoderDecoder' ? draw(2, 24) : undefined
  const rows: TokenRows = { ...draw(2, 40), ...(decoder && { decoder }) }
  const hasHead = model.architecture.head(model.config, model.outer) !== undefined
  const engine = openForward(model, { threads: 1 })
  try {
    const expected = hasHead ? await engine.logits(rows, plan) : await engine.hiddenStates(rows, plan)
    const file = `${directory}.expected.bin`
    await writeFile(file, new Uint8Array(expected.buffer, expected.byteOffset, expected.byteLength))
    const ids = (part: TokenRows) => ({ ids: [...part.ids], rows: part.rows })
    return {
      export: directory,
      form,
      task: tasksOf(model)[0],
      input: ids(rows),
      decoder: decoder && ids(decoder),
      expected: file,
    }
  } finally {
    await engine.close()
  }
}
