import { mkdtemp, readdir, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { openModel } from '../../src/model/load.ts'
import { familyPlans } from '../export/familyPlans.ts'
import { exportCase, verifyCases } from './transformersCases.ts'

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
      const stdout = await verifyCases(python!, cases, target)
      expect(stdout.match(/^FAIL .*/gm) ?? []).toEqual([])
      expect(stdout).toMatch(/^(\d+) of \1 checks passed$/m)
    } finally {
      await rm(target, { recursive: true })
    }
  },
)
