import { spawnSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { openLocalEngine } from '../../src/engine/localEngine.ts'
import { exportOnnx } from '../../src/export/onnx.ts'
import type { Engine } from '../../src/measures/measurement.ts'
import type { Model } from '../../src/model/model.ts'
import { emptyPlan } from '../../src/model/plan.ts'
import type { BlockId, PruningPlan, TokenRows } from '../../src/types.ts'
import { describeResult, verifyExport } from '../../src/verify/verifyExport.ts'
import * as ask from '../asked.ts'
import { openTiny, tinyEncoders } from '../export/onnxSession.ts'

/**
 * Every family that transformers.js has a class for, dense and pruned, opened in transformers.js and compared with our engine, and
 * the greedy text of those that generate. Needs `npm install --prefix test/consumers`.
 */
const root = resolve(import.meta.dirname, '../..')
const consumers = join(root, 'test/consumers')
const hasTransformersJs = existsSync(join(consumers, 'node_modules/@huggingface/transformers'))

const encoderDecoders = ['bart', 'flan-t5-gated', 'marian', 't5'].map((name) => `tiny-random/${name}`)
const decoders = [
  ...['bloom', 'falcon', 'gemma', 'gemma2', 'gemma3', 'gpt2', 'gpt_neox', 'llama'],
  ...['mistral', 'opt', 'phi', 'phi3', 'qwen2', 'qwen3'],
].map((name) => `tiny-random/${name}`)

const plan = (blocks: string[], units: Record<string, number[]> = {}): PruningPlan => ({
  blocks: blocks as BlockId[],
  units,
})

/** Attention alone, mlps alone, and both with heads and channels; of an encoder-decoder also one kind of attention whole. */
function plansOf({ blocks, architecture }: Model): Record<string, PruningPlan> {
  const has = (id: string) => blocks.find((block) => block.id === id)
  const stacks = Object.keys(architecture.stacks)
  const of = (...ids: string[]) => stacks.flatMap((stack) => ids.map((id) => `${stack}.${id}`)).filter(has)
  const heads = (id: string) => ((has(id)?.units ?? 0) > 1 ? { [id]: [0] } : {})
  return {
    nothing: emptyPlan,
    attention: plan(of('0.attention', '2.attention', '1.crossAttention')),
    mlps: plan(of('0.mlp', '2.mlp')),
    'blocks, heads and channels': plan(of('0.attention', '1.mlp', '0.crossAttention'), {
      ...Object.assign({}, ...of('1.attention', '1.crossAttention').map(heads)),
      ...Object.fromEntries(of('0.mlp').map((id) => [id, [0, 7, 17]])),
    }),
    ...(architecture.family === 'encoderDecoder' && {
      'self-attention in the decoder': plan(
        blocks.filter(({ stack, kind }) => stack === 'decoder' && kind === 'attention').map(({ id }) => id),
      ),
      'cross attention': plan(blocks.filter(({ kind }) => kind === 'crossAttention').map(({ id }) => id)),
    }),
  }
}

describe.skipIf(!hasTransformersJs).each([...tinyEncoders, ...encoderDecoders, ...decoders])(
  '%s (needs npm install --prefix test/consumers)',
  (path) => {
    let folder = ''
    let model: Model
    let engine: Engine
    beforeAll(async () => {
      folder = await mkdtemp(join(tmpdir(), 'verify-onnx-'))
      model = await openTiny(path)
      engine = openLocalEngine(model, { threads: 1 })
    })
    afterAll(async () => {
      await engine?.close()
      await model?.weights.close()
      await rm(folder, { recursive: true })
    })

    test('transformers.js computes every plan', async () => {
      const rows = rowsOf(model)
      for (const [name, pruned] of Object.entries(plansOf(model))) {
        const output = join(folder, 'onnx')
        await exportOnnx(model, pruned, output, { replace: true })
        const results = await verifyExport(output, model, pruned, rows, { engine, modulesFrom: [consumers] })
        for (const result of results) process.stderr.write(`${path} without ${name}: ${describeResult(result)}\n`)
        expect(
          results.map(({ consumer, status }) => [consumer, status]),
          name,
        ).toEqual([['transformers.js', 'agrees']])
      }
    })

    test.skipIf(tinyEncoders.includes(path))(
      'transformers.js generates what our engine does, token by token',
      async () => {
        for (const [name, pruned] of Object.entries(plansOf(model))) {
          const output = join(folder, 'onnx')
          await exportOnnx(model, pruned, output, { replace: true })
          expect(generated(output, model), name).toEqual(await greedy(model, engine, pruned))
        }
      },
    )
  },
)

/** Two rows; an encoder's second one ends with padding. */
function rowsOf({ architecture, sizes }: Model): TokenRows {
  const make = (length: number, step: number) => Int32Array.from({ length }, (_, i) => (i * step + 5) % sizes['V']!)
  const rows = { ids: make(40, 37), rows: 2, rowLength: 20 }
  if (architecture.family === 'decoder') return rows
  const decoder = { ids: make(34, 29), rows: 2, rowLength: 17 }
  const lengths = Int32Array.of(20, 13)
  return { ...rows, lengths, ...(architecture.family === 'encoderDecoder' && { decoder }) }
}

const newTokens = 24
const prompt = ({ sizes }: Model) => Array.from({ length: 9 }, (_, i) => (i * 31 + 11) % sizes['V']!)

/** The ids that transformers.js generates, with its cache. */
function generated(output: string, model: Model): number[] {
  const isDecoder = model.architecture.family === 'decoder'
  const request = {
    folder: output,
    autoClass: isDecoder ? 'AutoModelForCausalLM' : 'AutoModelForSeq2SeqLM',
    rows: [prompt(model)],
    ...(!isDecoder && { start: 3 }),
    count: newTokens,
  }
  const { stdout, stderr } = spawnSync(process.execPath, [join(import.meta.dirname, 'generateIdsInNode.mjs')], {
    cwd: consumers,
    input: JSON.stringify(request),
    encoding: 'utf8',
  })
  if (stdout.trim() === '') throw new Error(`transformers.js said nothing: ${stderr.slice(-600)}`)
  return JSON.parse(stdout.trim().split('\n').at(-1)!)[0]
}

/** The most likely token again and again, every step computed anew. */
async function greedy(model: Model, engine: Engine, pruned: PruningPlan): Promise<number[]> {
  const V = model.sizes['V']!
  const source = prompt(model)
  const isDecoder = model.architecture.family === 'decoder'
  const ids = isDecoder ? [...source] : [3]
  for (let step = 0; step < newTokens; step++) {
    const row = { ids: Int32Array.from(ids), rows: 1, rowLength: ids.length }
    const rows = isDecoder ? row : { ids: Int32Array.from(source), rows: 1, rowLength: source.length, decoder: row }
    const last = (await ask.logits(engine, rows, pruned)).slice(-V)
    ids.push(last.indexOf(Math.max(...last)))
  }
  return ids
}
