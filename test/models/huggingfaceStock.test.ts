import { spawnSync } from 'node:child_process'
import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { expect, test } from 'vitest'
import { UnsupportedModelError } from '../../src/errors.ts'
import { exportHuggingFace } from '../../src/export/huggingface.ts'
import { findRole } from '../../src/model/axes.ts'
import { describeModel } from '../../src/model/describe.ts'
import { openFolder } from '../../src/model/folder.ts'
import type { Model } from '../../src/model/model.ts'
import type { Block, PruningPlan } from '../../src/types.ts'

/**
 * Stock exports of every family, loaded in transformers. BLOCKPRUNER_PYTHON names a python with torch and transformers,
 * BLOCKPRUNER_FAMILIES another folder of tiny models, one a family, each of at least three layers a stack.
 */
const python = process.env['BLOCKPRUNER_PYTHON']
const families = process.env['BLOCKPRUNER_FAMILIES'] ?? resolve(import.meta.dirname, '../fixtures/tiny-random')
const folders = await modelFolders(families)

async function modelFolders(folder: string): Promise<string[]> {
  const names = await readdir(folder, { recursive: true })
  return names.filter((name) => name.endsWith('/config.json')).map((name) => name.replace('/config.json', ''))
}

const isPostNorm = (model: Model) => model.blocks.some(({ weights }) => weights['outputNorm'] !== undefined)

/**
 * Removed blocks by name of the plan; a family may have no stock form for the later ones, but for the first it must.
 * Repacked post-norm layers are left out: no dense model of transformers can be changed to show what they compute.
 */
function plansFor(model: Model): [name: string, required: boolean, plan: PruningPlan][] {
  const remove = (test: (block: Block) => boolean): PruningPlan => ({
    blocks: model.blocks.filter(test).map(({ id }) => id),
    units: {},
    outputNorms: 'drop',
  })
  const channels = Object.fromEntries(
    model.blocks.filter(({ kind }) => kind === 'mlp').map((block) => [block.id, [block.units - 1, 0, 5]]),
  )
  const plans: [string, boolean, PruningPlan][] = [
    ['middle', true, remove(({ layer }) => layer === 1)],
    ['first', false, remove(({ layer }) => layer === 0)],
    ['firstOfOne', false, remove(({ layer, stack }) => layer === 0 && stack === 'decoder')],
    ['repacked', false, remove(({ layer, kind }) => (layer === 0 ? kind === 'mlp' : layer === 1 && kind !== 'mlp'))],
    ['channels', false, { blocks: [], units: channels }],
  ]
  return plans.filter(([name]) => name !== 'repacked' || !isPostNorm(model))
}

/** What the dense model has to lose for the same effect, in words of its parameters. */
function caseOf(model: Model, plan: PruningPlan) {
  const removed = model.blocks.filter(({ id }) => plan.blocks.includes(id))
  const outputs = ['oProj', 'oBias', 'downProj', 'downBias', 'postNorm', 'postNormBias']
  const zero = removed.flatMap(({ weights }) => outputs.flatMap((role) => findRole(weights, role)?.name ?? []))
  const columns = Object.entries(plan.units).map(([id, units]) => {
    const down = findRole(model.blocks.find((block) => block.id === id)!.weights, 'downProj')
    return [down?.name, [down?.axes.startsWith('F') ? 0 : 1, units]]
  })
  const layers: Record<string, number[]> = {}
  for (const { stack, layer, kind } of removed) if (kind === 'mlp') layers[stack] = [...(layers[stack] ?? []), layer]
  const postNorm = isPostNorm(model)
  return { zero: postNorm ? [] : zero, columns: Object.fromEntries(columns), layers: postNorm ? layers : {} }
}

test.skipIf(python === undefined).for(folders)(
  'stock exports of %s give the logits of the dense model without the blocks (needs BLOCKPRUNER_PYTHON and BLOCKPRUNER_FAMILIES)',
  async (name) => {
    const folder = resolve(families, name)
    const model = describeModel(folder, folder, await openFolder(folder))
    const target = await mkdtemp(join(tmpdir(), 'export-stock-'))
    try {
      const cases: object[] = []
      for (const [plan, required, given] of plansFor(model)) {
        try {
          const { form } = await exportHuggingFace(model, given, join(target, plan))
          if (form === 'custom') continue
          const export_ = join(target, plan)
          cases.push({ name: `${name} ${plan} ${form}`, dense: folder, export: export_, ...caseOf(model, given) })
        } catch (error) {
          if (required || !(error instanceof UnsupportedModelError)) throw error
          process.stdout.write(`SKIP ${name} ${plan} ${error.message}\n`)
        }
      }
      await writeFile(join(target, 'cases.json'), JSON.stringify(cases))
      expect(cases.length).toBeGreaterThan(0)
      const script = join(import.meta.dirname, 'verify_stock.py')
      const { stdout, stderr, status } = spawnSync(python!, [script, join(target, 'cases.json')], {
        encoding: 'utf8',
        env: { ...process.env, HF_HUB_OFFLINE: '1' },
      })
      process.stdout.write(stdout)
      expect(stdout.match(/^FAIL .*/gm) ?? []).toEqual([])
      expect(status, stderr.slice(-2000)).toBe(0)
    } finally {
      await model.weights.close()
      await rm(target, { recursive: true })
    }
  },
)
