import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { openForward } from '../../src/engine/forward.ts'
import { exportHuggingFace } from '../../src/export/huggingface.ts'
import { openModel } from '../../src/model/load.ts'
import type { Model } from '../../src/model/model.ts'
import { blockSizes } from '../../src/model/plan.ts'
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

/** Rows that grow past the context whose frequencies they keep: transformers turns back nothing of what its cache holds, so disagrees with itself. */
const changesInCache = ['phi3-long', 'mistral-dynamic']

test.skipIf(python === undefined).for(['tiny-random', 'tiny-variants', 'tiny-encoders'])(
  'exports of each model in %s give the numbers of the engine in transformers (needs BLOCKPRUNER_PYTHON)',
  async (folder) => {
    const target = await mkdtemp(join(tmpdir(), 'export-families-'))
    try {
      const cases: object[] = []
      const entries = await readdir(join(fixtures, folder), { withFileTypes: true })
      for (const { name } of entries.filter((entry) => entry.isDirectory() && !changesInCache.includes(entry.name))) {
        const model = await openModel(name, join(fixtures, folder, name))
        for (const [planName, plan] of Object.entries(familyPlans(model))) {
          // a decoder without layers has no place in a cache to count its tokens
          if (planName === 'noDecoder' || planName === 'nothingLeft') continue
          const directory = join(target, name, planName)
          cases.push({ name: `${folder}/${name} ${planName}`, ...(await exportCase(model, plan, directory)) })
        }
        await model.weights.close()
      }
      await writeFile(join(target, 'cases.json'), JSON.stringify(cases))
      const stdout = await verify(join(target, 'cases.json'), join(target, 'modules'))
      expect(stdout.match(/^FAIL .*/gm) ?? []).toEqual([])
      expect(stdout).toMatch(/^(\d+) of \1 checks passed$/m)
    } finally {
      await rm(target, { recursive: true })
    }
  },
)

/** What the script says of the cases, a line a check; shown as it comes. */
async function verify(cases: string, modulesCache: string): Promise<string> {
  const child = spawn(python!, [join(import.meta.dirname, 'verify_families.py'), cases], {
    // models this small are slower on several threads
    env: { ...process.env, HF_HUB_OFFLINE: '1', HF_MODULES_CACHE: modulesCache, OMP_NUM_THREADS: '1' },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  const said = { stdout: '', stderr: '' }
  child.stdout.on('data', (text) => {
    said.stdout += text
    process.stdout.write(text)
  })
  child.stderr.on('data', (text) => {
    said.stderr += text
  })
  await once(child, 'close')
  if (!said.stdout.includes('checks passed')) throw new Error(said.stderr.slice(-2000))
  return said.stdout
}

/** Exports, and writes beside the export what the engine computes of the plan for tokens drawn with a fixed seed. */
async function exportCase(model: Model, plan: PruningPlan, directory: string): Promise<object> {
  const { form } = await exportHuggingFace(model, plan, directory)
  const random = new Random(1)
  const draw = (rows: number, rowLength: number): TokenRows => {
    const ids = Int32Array.from({ length: rows * rowLength }, () => 3 + random.below(model.sizes['V']! - 3))
    return { ids, rows, rowLength }
  }
  const decoder = model.architecture.family === 'encoderDecoder' ? draw(2, 16) : undefined
  const rows: TokenRows = { ...draw(2, 20), ...(decoder && { decoder }) }
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
      // transformers refuses a saved Llama with an odd head size, rotary positions or not (Baichuan 13B as small as it can be)
      reloads: model.blocks.every((block) => blockSizes(model, block)['E']! % 2 === 0),
      decoder: decoder && ids(decoder),
      expected: file,
    }
  } finally {
    await engine.close()
  }
}
