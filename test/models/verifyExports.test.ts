import { spawnSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { afterAll, beforeAll, describe, expect, type TestContext, test } from 'vitest'
import { loadTokenizer } from '../../src/data/tokenizer.ts'
import { openLocalEngine } from '../../src/engine/localEngine.ts'
import { exportGguf, type GgufExportType } from '../../src/export/gguf.ts'
import { exportHuggingFace } from '../../src/export/huggingface.ts'
import { exportNemotron } from '../../src/export/nemotron.ts'
import { exportOnnx } from '../../src/export/onnx.ts'
import type { OnnxDtype } from '../../src/export/onnxProducts.ts'
import type { Engine } from '../../src/measures/measurement.ts'
import { openModel } from '../../src/model/load.ts'
import type { Model } from '../../src/model/model.ts'
import type { BlockId, PruningPlan, TokenRows } from '../../src/types.ts'
import { type ConsumerResult, describeResult, verifyExport } from '../../src/verify/verifyExport.ts'
import { smollm2 } from './smollm2.ts'

/**
 * Every export opened in the software it is for, on the embedded model and on SmolLM2-135M. llama.cpp and transformers.js come
 * from `npm install --prefix test/consumers`, transformers, vLLM and mlx-lm from the python that BLOCKPRUNER_PYTHON names. A test
 * passes only where the software it is named after has answered and agrees; where that is not installed it is skipped, and says so.
 */
const root = resolve(import.meta.dirname, '../..')
const consumers = join(root, 'test/consumers')

interface Subject {
  readonly name: string
  readonly path: string
  readonly plans: Readonly<Record<string, PruningPlan>>
  readonly ggufTypes: readonly (GgufExportType | undefined)[]
  readonly onnxDtypes: readonly OnnxDtype[]
}

const without = (...blocks: string[]): PruningPlan => ({
  blocks: blocks.map((id) => `decoder.${id}` as BlockId),
  units: {},
})
const range = (count: number) => Array.from({ length: count }, (_, i) => i)

const embedded: Subject = {
  name: 'embedded',
  path: join(root, 'models/brown-llama'),
  plans: {
    'attention only': without('3.attention', '7.attention'),
    'mlp only': without('2.mlp', '11.mlp'),
    'mixed, a layer emptied': without('0.attention', '4.attention', '4.mlp', '6.mlp', '11.attention'),
    uneven: {
      blocks: [],
      units: { 'decoder.1.attention': [0], 'decoder.5.mlp': [1, 2, 100], 'decoder.6.mlp': range(32) },
    },
    'whole layer': without('5.attention', '5.mlp'),
  },
  ggufTypes: ['F32', 'F16', 'BF16', 'Q8_0', 'Q4_0', undefined],
  onnxDtypes: ['fp32', 'fp16', 'q8', 'q4'],
}

const smollm2Path = await smollm2()
const smollm: Subject = {
  name: 'SmolLM2-135M',
  path: smollm2Path ?? '',
  plans: {
    'attention only': without('22.attention', '25.attention', '27.attention'),
    'mlp only': without('11.mlp', '20.mlp'),
    'mixed, a layer emptied': without('0.attention', '22.attention', '22.mlp', '25.attention', '12.mlp'),
    uneven: {
      blocks: ['decoder.24.mlp'],
      units: { 'decoder.20.attention': [1], 'decoder.22.mlp': range(100), 'decoder.23.mlp': range(320) },
    },
  },
  ggufTypes: ['F32', undefined],
  onnxDtypes: ['fp32', 'q8'],
}

if (smollm2Path === undefined) test.skip('exports of SmolLM2-135M: the model is not here', () => {})

for (const subject of smollm2Path === undefined ? [embedded] : [embedded, smollm]) {
  describe(subject.name, () => {
    let folder = ''
    let model: Model
    let engine: Engine
    let rows: TokenRows
    beforeAll(async () => {
      folder = await mkdtemp(join(tmpdir(), 'verify-exports-'))
      model = await openModel(subject.name, subject.path)
      engine = openLocalEngine(model)
      const tokenizer = await loadTokenizer(model.assets, model.sizes['V']!)
      const text = await readFile(join(root, 'models/brown-heldout.txt'), 'utf8')
      rows = { ids: tokenizer.encode(text.slice(0, 4000)).slice(0, 128), rows: 2, rowLength: 64 }
    })
    afterAll(async () => {
      await engine.close()
      await model.weights.close()
      await rm(folder, { recursive: true })
    })

    /** Asks everything that is installed; `consumer`, which the test is about, must have agreed in every precision. */
    async function check(path: string, plan: PruningPlan, label: string, consumer: string, { skip }: TestContext) {
      const onResult = (result: ConsumerResult) =>
        void process.stderr.write(`${subject.name}, ${label}: ${describeResult(result)}\n`)
      const results = await verifyExport(path, model, plan, rows, { engine, modulesFrom: [consumers], onResult })
      await rm(path, { recursive: true })
      expect(results.filter(({ status }) => status === 'disagrees' || status === 'failed')).toEqual([])
      const asked = results.filter((result) => result.consumer === consumer)
      expect(asked.length, `${consumer} reads this format`).toBeGreaterThan(0)
      const absent = asked.find(({ status }) => status === 'skipped')
      if (absent !== undefined) skip(`${consumer}: ${absent.detail}`)
      // ONNX models of fewer bits are rounded from the plan's weights, and are said to be
      const wanted = asked.map(({ precision }) => (/^(fp16|q8|q4)$/.test(precision) ? 'rounded' : 'agrees'))
      expect(asked.map(({ status }) => status)).toEqual(wanted)
    }

    for (const [name, plan] of Object.entries(subject.plans)) {
      test(`${name}: llama.cpp computes the plan`, async (context) => {
        for (const type of subject.ggufTypes) {
          const path = join(folder, 'model.gguf')
          await exportGguf(model, plan, path, { type })
          await check(path, plan, `${name}, ${type ?? 'types as stored'}`, 'llama.cpp (node-llama-cpp)', context)
        }
      })

      test(`${name}: transformers.js computes the plan`, async (context) => {
        const path = join(folder, 'onnx')
        await exportOnnx(model, plan, path, { dtypes: subject.onnxDtypes })
        await check(path, plan, name, 'transformers.js', context)
      })

      // a first layer without attention and fewer heads have no such form
      for (const consumer of ['attention only', 'mlp only'].includes(name) ? ['vLLM', 'mlx-lm'] : []) {
        test(`${name}: ${consumer} computes the plan`, async (context) => {
          const path = join(folder, 'nemotron')
          await exportNemotron(model, plan, path)
          await check(path, plan, name, consumer, context)
        })
      }

      test(`${name}: transformers computes the plan`, async (context) => {
        const path = join(folder, 'huggingface')
        await exportHuggingFace(model, plan, path)
        await check(path, plan, name, 'transformers (Python)', context)
      })
    }

    const hasLlamaCpp = existsSync(join(consumers, 'node_modules/node-llama-cpp'))
    test.skipIf(!hasLlamaCpp)('llama.cpp cuts text into the ids of the model', async () => {
      const path = join(folder, 'tokens.gguf')
      await exportGguf(model, without(), path, { type: 'Q8_0' })
      const tokenizer = await loadTokenizer(model.assets, model.sizes['V']!)
      const heldout = await readFile(join(root, 'models/brown-heldout.txt'), 'utf8')
      const texts = [heldout.slice(0, 3000), 'Ünïcode 12345 …\n\n\t  don\'t  WON\'T 日本語 👍🏽 <div class="x">']
      for (const text of texts) {
        const program = join(import.meta.dirname, 'tokenizeInLlamaCpp.mjs')
        const { stdout, stderr } = spawnSync(process.execPath, [program, path, text], {
          cwd: consumers,
          encoding: 'utf8',
        })
        if (stdout.trim() === '') throw new Error(`llama.cpp said nothing: ${stderr.slice(-400)}`)
        expect(JSON.parse(stdout.trim().split('\n').at(-1)!)).toEqual([...tokenizer.encode(text)])
      }
    })
  })
}
