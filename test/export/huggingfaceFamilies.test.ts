import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { openLocalEngine } from '../../src/engine/localEngine.ts'
import { exportHuggingFace } from '../../src/export/huggingface.ts'
import type { Engine } from '../../src/measures/measurement.ts'
import { applyPlan, originalUnits } from '../../src/model/applyPlan.ts'
import { architectures } from '../../src/model/families.ts'
import { openModel } from '../../src/model/load.ts'
import type { Model } from '../../src/model/model.ts'
import { emptyPlan } from '../../src/model/plan.ts'
import type { PruningPlan, TokenRows } from '../../src/types.ts'
import * as ask from '../asked.ts'
import { expectError } from '../measured.ts'
import { familyPlans } from './familyPlans.ts'

/** Every family, and of the forms they come in those in which narrower or missing blocks have something of their own. */
const random =
  'bart bert bert-cls bloom distilbert falcon flan-t5-gated gemma gemma2 gemma3 gpt2 gpt_neox llama marian mistral opt phi phi3 qwen2 qwen3 roberta t5'
const fixtures = [
  ...random.split(' ').map((name) => `tiny-random/${name}`),
  ...[
    'bloom-six-heads',
    'falcon-alibi',
    'gemma2-window',
    'gpt2-odd-heads',
    'phi3-partial',
    'opt-narrow-embeddings',
    'seed_oss-biases',
  ].map((name) => `tiny-variants/${name}`),
  ...['baichuan-7b', 'baichuan-13b'].map((name) => `tiny-variants/${name}`),
  ...['bart-uneven', 'bart-untied', 'bert-headless', 't5-wide-heads'].map((name) => `tiny-encoders/${name}`),
]

/** The others change nothing that a reader could get wrong; test/models tries them in transformers. */
const tried = [
  ...['attention', 'mlp', 'mixed', 'mixedWithoutNorms', 'unevenMixed', 'uniform'],
  ...['encoderChannels', 'noEncoder', 'nothingLeft'],
]

let folder = ''
const opened: Model[] = []
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'export-families-'))
})
afterAll(() => rm(folder, { recursive: true }))

describe.each(fixtures)('an export of %s', (name) => {
  let model: Model
  let engine: Engine
  beforeAll(async () => {
    model = await openModel(name, join(import.meta.dirname, '../fixtures', name))
    engine = openLocalEngine(model, { threads: 1 })
    opened.push(model)
  })
  afterAll(async () => {
    await engine.close()
    await model.weights.close()
  })

  test('opens again, complete, and computes the same for plans of every shape', async () => {
    const plans = Object.entries(familyPlans(model)).filter(([planName]) => tried.includes(planName))
    expect(plans.length).toBeGreaterThan(4)
    for (const [planName, plan] of plans) {
      const target = join(folder, name, planName)
      const { form, parameters } = await exportHuggingFace(model, plan, target)
      if (form === 'custom') await checkCode(target)
      const reopened = await openModel(planName, target)
      const again = openLocalEngine(reopened, { threads: 1 })
      try {
        const expected = await outputs(engine, model, plan)
        const difference = greatestDifference(await outputs(again, reopened, emptyPlan), expected)
        expectError(difference, 0, planName)
        expect(reopened.parameters, planName).toBe(parameters)
        expect([...reopened.weights.tensors.keys()].sort(), planName).toEqual(namesOf(reopened))
        const left = applyPlan(model, plan)
        expect(
          reopened.blocks.map(({ units }) => units),
          planName,
        ).toEqual(left.blocks.map(({ units }) => units))
        // a stock config can only mean the first heads; it is written where nothing depends on which they are
        if (form === 'custom') expect(headsOf(reopened), planName).toEqual(headsOf(left))
      } finally {
        await again.close()
        await reopened.weights.close()
      }
    }
  })
})

/** Every class that config.json points to is in the code beside it, the one it was saved from among them. */
async function checkCode(target: string): Promise<void> {
  const config = JSON.parse(await readFile(join(target, 'config.json'), 'utf8'))
  const code = await readFile(join(target, 'modeling_blockpruner.py'), 'utf8')
  const names = Object.values<string>(config.auto_map).map((path) => path.replace('modeling_blockpruner.', ''))
  for (const className of names) expect(code).toContain(`\nclass ${className}(`)
  expect(names).toContain(config.architectures[0])
}

test('a block whose mathematics go by the number of its layer stays in that layer', async () => {
  const model = await openModel('gpt2', join(import.meta.dirname, '../fixtures/tiny-variants/gpt2-odd-heads'))
  const without = (...layers: number[]): PruningPlan => ({
    blocks: layers.flatMap((layer) => [`decoder.${layer}.attention` as const, `decoder.${layer}.mlp` as const]),
    units: {},
  })
  const first = await exportHuggingFace(model, without(0), join(folder, 'in-place'))
  expect(first).toMatchObject({
    form: 'custom',
    layout: { stacks: { decoder: [{}, { attention: 1 }, { attention: 2 }] } },
  })
  expect(await readFile(join(folder, 'in-place/README.md'), 'utf8')).toContain('| layers | 3 | 2 |')
  // no attention moves when the last layer goes
  expect(await exportHuggingFace(model, without(2), join(folder, 'last'))).toMatchObject({ form: 'whole' })
  await model.weights.close()
})

test('every family is tried', () => {
  expect(architectures.filter((architecture) => !opened.some((model) => model.architecture === architecture))).toEqual(
    [],
  )
})

function outputs(engine: Engine, model: Model, plan: PruningPlan): Promise<Float32Array> {
  const draw = (rows: number, rowLength: number): TokenRows => {
    const ids = Int32Array.from({ length: rows * rowLength }, (_, i) => 3 + ((i * 37) % (model.sizes['V']! - 3)))
    return { ids, rows, rowLength }
  }
  const { family } = model.architecture
  const rows = { ...draw(2, 12), ...(family === 'encoderDecoder' && { decoder: draw(2, 9) }) }
  const hasHead = model.architecture.head(model.config, model.outer) !== undefined
  return hasHead ? ask.logits(engine, rows, plan) : ask.hiddenStates(engine, rows, plan)
}

function greatestDifference(a: Float32Array, b: Float32Array): number {
  expect(a.length).toBe(b.length)
  return a.reduce((most, value, i) => Math.max(most, Math.abs(value - b[i]!)), 0)
}

/** Names of all tensors that some part of the model reads. */
function namesOf({ outer, blocks, bareNorms }: Model): string[] {
  const tables = [outer, ...[...blocks, ...bareNorms].map(({ weights }) => weights)]
  return [...new Set(tables.flatMap((table) => Object.values(table).map(([name]) => name)))].sort()
}

/** The heads of the dense model that each attention has. */
function headsOf(model: Model): (readonly number[])[] {
  return model.blocks.filter(({ kind }) => kind !== 'mlp').map((block) => originalUnits(model, block))
}
