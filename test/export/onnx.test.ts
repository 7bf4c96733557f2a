import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import * as ort from 'onnxruntime-node'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { openLocalEngine } from '../../src/engine/localEngine.ts'
import { UnsupportedModelError } from '../../src/errors.ts'
import { exportOnnx } from '../../src/export/onnx.ts'
import { layOutData } from '../../src/export/onnxExternalData.ts'
import type { OnnxDtype } from '../../src/export/onnxProducts.ts'
import type { Engine } from '../../src/measures/measurement.ts'
import { openModel } from '../../src/model/load.ts'
import type { Model } from '../../src/model/model.ts'
import { emptyPlan } from '../../src/model/plan.ts'
import type { PruningPlan } from '../../src/types.ts'
import { agreementOf } from '../../src/verify/agreement.ts'
import * as ask from '../asked.ts'
import { expectError } from '../measured.ts'

const root = join(import.meta.dirname, '../..')
const tokens = 24
let folder = ''
let brown: Model
let engine: Engine
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'export-onnx-'))
  brown = await openModel('brown-llama', join(root, 'models/brown-llama'))
  engine = openLocalEngine(brown)
})
afterAll(async () => {
  await engine.close()
  await brown.weights.close()
  await rm(folder, { recursive: true })
})

/** Attention 0 gone, a layer of one mlp, an emptied layer, one head and some channels less. */
const mixed: PruningPlan = {
  blocks: ['decoder.0.attention', 'decoder.4.attention', 'decoder.4.mlp', 'decoder.6.mlp', 'decoder.11.attention'],
  units: { 'decoder.2.attention': [1], 'decoder.3.mlp': [0, 1, 2, 351] },
}
const ids = Int32Array.from({ length: tokens }, (_, i) => (i * 977 + 3) % 4096)
const rows = { ids, rows: 1, rowLength: tokens }

type Caches = Record<string, ort.Tensor>

/** Runs `ids` after what is in `caches`, as transformers.js would; logits of the last `keep` positions, 0 for all. */
async function run(session: ort.InferenceSession, part: Int32Array, total: number, caches: Caches, keep = 0) {
  const feeds: Record<string, ort.Tensor> = { ...caches }
  const given: Record<string, ort.Tensor> = {
    input_ids: new ort.Tensor('int64', BigInt64Array.from(part, BigInt), [1, part.length]),
    attention_mask: new ort.Tensor('int64', new BigInt64Array(total).fill(1n), [1, total]),
    num_logits_to_keep: new ort.Tensor('int64', [BigInt(keep)], []),
  }
  for (const input of session.inputMetadata) {
    if (given[input.name] !== undefined) feeds[input.name] = given[input.name]!
    else if (feeds[input.name] === undefined && input.isTensor) {
      const dims = input.shape.map((size) => (typeof size === 'number' ? size : size === 'batch_size' ? 1 : 0))
      const data = input.type === 'float16' ? new Uint16Array(0) : new Float32Array(0)
      feeds[input.name] = new ort.Tensor(input.type as 'float32', data as Float32Array, dims)
    }
  }
  const results = await session.run(feeds)
  const present = Object.entries(results).filter(([name]) => name.startsWith('present.'))
  return {
    logits: results['logits']!.data as Float32Array,
    dims: results['logits']!.dims,
    caches: Object.fromEntries(present.map(([name, value]) => [name.replace('present', 'past_key_values'), value])),
  }
}

async function sessionOf(
  model: Model,
  plan: PruningPlan,
  dtype: OnnxDtype,
  name: string,
): Promise<ort.InferenceSession> {
  const path = join(folder, name)
  const { files } = await exportOnnx(model, plan, path, { dtypes: [dtype], replace: true })
  return ort.InferenceSession.create(join(path, 'onnx', files[0]!.name), { logSeverityLevel: 3 })
}

async function chunked(session: ort.InferenceSession, sizes: readonly number[]): Promise<Float32Array> {
  const parts: Float32Array[] = []
  let [caches, done]: [Caches, number] = [{}, 0]
  for (const size of sizes) {
    const result = await run(session, ids.slice(done, done + size), done + size, caches)
    caches = result.caches
    done += size
    parts.push(result.logits)
  }
  return Float32Array.from(parts.flatMap((part) => [...part]))
}

describe('an exported decoder', () => {
  test.each([
    ['at once', [tokens]],
    ['in chunks', [10, 1, 13]],
    ['token by token', new Array<number>(tokens).fill(1)],
  ])('computes what the plan does, fed %s', async (_, sizes) => {
    const session = await sessionOf(brown, mixed, 'fp32', 'mixed')
    const logits = await chunked(session, sizes)
    const ours = await ask.logits(engine, rows, mixed)
    // of logits up to 20
    expectError(Math.max(...ours.map((value, i) => Math.abs(value - logits[i]!))), 9.6e-6)
    await session.release()
  })

  test('gives only the last positions where they alone are asked for', async () => {
    const session = await sessionOf(brown, mixed, 'fp32', 'last')
    const all = await run(session, ids, tokens, {})
    const two = await run(session, ids, tokens, {}, 2)
    expect(two.dims).toEqual([1, 2, 4096])
    expectError(agreementOf(all.logits.slice(-2 * 4096), two.logits, 4096).meanKl, 0)
    await session.release()
  })

  test('has a cache for each attention that is left, as wide as its own heads', async () => {
    const session = await sessionOf(brown, mixed, 'fp32', 'caches')
    const keys = session.inputMetadata.filter(({ name }) => name.endsWith('.key'))
    expect(keys.map(({ name }) => name)).toEqual(Array.from({ length: 9 }, (_, i) => `past_key_values.${i}.key`))
    expect(keys.slice(0, 3).map((key) => key.isTensor && key.shape)).toEqual([
      ['batch_size', 2, 'past_sequence_length', 32],
      ['batch_size', 1, 'past_sequence_length', 32],
      ['batch_size', 2, 'past_sequence_length', 32],
    ])
    const config = JSON.parse(await readFile(join(folder, 'caches/config.json'), 'utf8'))
    expect(config).toMatchObject({ model_type: 'llama', num_hidden_layers: 9, head_dim: 32 })
    expect(config['transformers.js_config'].use_external_data_format).toEqual({ 'model.onnx': 1 })
    await session.release()
  })

  test('works without any attention left', async () => {
    const plan = { blocks: brown.blocks.filter(({ kind }) => kind === 'attention').map(({ id }) => id), units: {} }
    const session = await sessionOf(brown, plan, 'fp32', 'none')
    expect(session.inputNames).toEqual(['input_ids', 'num_logits_to_keep'])
    const { logits } = await run(session, ids, tokens, {})
    expectError(agreementOf(await ask.logits(engine, rows, plan), logits, 4096).meanKl, 0)
    await session.release()
  })

  // measured on these tokens: 9e-8, 4e-4 and 1.6e-2
  test.for([
    ['fp16', 1e-6],
    ['q8', 2e-3],
    ['q4', 6e-2],
  ] as const)('stays near the plan in %s, also with a cache', async ([dtype, limit], { skip }) => {
    // the binding of onnxruntime-node 1.30 cannot read the Float16Array that its own tensors are made of where Node has one
    if (dtype === 'fp16' && 'Float16Array' in globalThis)
      skip('onnxruntime-node cannot be fed half tensors on this Node')
    const session = await sessionOf(brown, mixed, dtype, dtype)
    const logits = await chunked(session, [9, 1, 14])
    const { meanKl } = agreementOf(await ask.logits(engine, rows, mixed), logits, 4096)
    expect(meanKl).toBeLessThan(limit)
    expect(meanKl).toBeGreaterThan(0)
    await session.release()
  })
})

describe('the folder', () => {
  test('has what transformers.js looks for, and nothing more', async () => {
    const path = join(folder, 'whole')
    const { files } = await exportOnnx(brown, emptyPlan, path, { dtypes: ['fp32', 'q8'] })
    expect((await readdir(path)).sort()).toEqual([
      'config.json',
      'generation_config.json',
      'onnx',
      'tokenizer.json',
      'tokenizer_config.json',
    ])
    expect((await readdir(join(path, 'onnx'))).sort()).toEqual([
      'model.onnx',
      'model.onnx_data',
      'model_quantized.onnx',
      'model_quantized.onnx_data',
    ])
    expect(files[0]!.sizeBytes).toBeGreaterThan(brown.parameters * 4)
    await expect(exportOnnx(brown, emptyPlan, path)).rejects.toThrow(/expected a new or an empty folder/)
  })

  test('is not there when the export was stopped', async () => {
    const stop = new AbortController()
    const path = join(folder, 'stopped')
    const promise = exportOnnx(brown, emptyPlan, path, { signal: stop.signal, onProgress: () => stop.abort() })
    await expect(promise).rejects.toThrow(/abort/i)
    expect((await readdir(folder)).filter((name) => name.startsWith('stopped'))).toEqual([])
  })

  test('has several data files where one would pass 2 GiB, and refuses a tensor that alone does', () => {
    const constant = (name: string, gigabytes: number) =>
      ({ name, type: 'uint8', dims: [gigabytes * 1e9], data: async function* () {} }) as const
    const { files, initializers } = layOutData('model.onnx', [constant('a', 1.5), constant('b', 1), constant('c', 1)])
    expect(files.map(({ name }) => name)).toEqual(['model.onnx_data', 'model.onnx_data_1'])
    expect(initializers.map(({ data }) => data)).toEqual([
      { file: 'model.onnx_data', offset: 0, length: 1.5e9 },
      { file: 'model.onnx_data_1', offset: 0, length: 1e9 },
      { file: 'model.onnx_data_1', offset: 1e9, length: 1e9 },
    ])
    expect(() => layOutData('model.onnx', [constant('d', 3)])).toThrow(UnsupportedModelError)
  })
})
