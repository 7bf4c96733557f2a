import { cp, mkdir, mkdtemp, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { describe, expect, it } from 'vitest'
import { paddedRows } from '../../src/data/paddedRows.ts'
import { openLocalEngine } from '../../src/engine/localEngine.ts'
import { embeddingsOf, measureEmbeddings } from '../../src/evaluate/embeddings.ts'
import { type PoolingMode, poolStates, sentencePoolingOf } from '../../src/evaluate/sentencePooling.ts'
import { exportHuggingFace } from '../../src/export/huggingface.ts'
import { measureOn } from '../../src/measures/measurement.ts'
import { loadModel } from '../../src/model/load.ts'
import { emptyPlan, withoutBlock } from '../../src/model/plan.ts'

const encoder = fileURLToPath(new URL('../fixtures/tiny-encoders/bert-headless', import.meta.url))
const module = (name: string, path: string) => ({ name, path, type: `sentence_transformers.models.${name}` })
const modules = [module('Transformer', ''), module('Pooling', '1_Pooling')]

/** A tiny encoder as sentence-transformers saves it. */
async function saved(files: Readonly<Record<string, unknown>>): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'sentences-'))
  await cp(encoder, folder, { recursive: true })
  for (const [name, content] of Object.entries(files)) {
    await mkdir(dirname(join(folder, name)), { recursive: true })
    await writeFile(join(folder, name), JSON.stringify(content))
  }
  return folder
}

const poolingOf = async (files: Readonly<Record<string, unknown>>) => {
  const model = await loadModel(await saved(files))
  await model.weights.close()
  return sentencePoolingOf(model)
}

describe('the pooling of a sentence', () => {
  // three tokens of two dimensions, and one of padding
  const states = Float32Array.of(1, -4, 3, 2, 8, -1, 100, 100)

  it.each<[PoolingMode, number[]]>([
    ['cls', [1, -4]],
    ['max', [8, 2]],
    ['mean', [12 / 3, -3 / 3]],
    ['meanSqrtLen', [12 / Math.sqrt(3), -3 / Math.sqrt(3)]],
    ['weightedMean', [(1 + 2 * 3 + 3 * 8) / 6, (-4 + 2 * 2 - 3) / 6]],
    ['lastToken', [8, -1]],
  ])('%s, by hand', (mode, expected) => {
    const found = poolStates(states, 3, 2, { modes: [mode], normalize: false })
    for (const [d, value] of expected.entries()) expect(found[d]).toBeCloseTo(value, 14)
  })

  it('joins the vectors of several modes and brings them to length 1 together', () => {
    const found = poolStates(states, 3, 2, { modes: ['cls', 'lastToken'], normalize: true })
    expect([...found]).toEqual([1, -4, 8, -1].map((value) => value / Math.hypot(1, 4, 8, 1)))
  })

  it('is what the folder declares, in both spellings, and the normalised mean where it declares none', async () => {
    expect(await poolingOf({})).toEqual({ modes: ['mean'], normalize: true })
    const old = { word_embedding_dimension: 24, pooling_mode_cls_token: true, pooling_mode_mean_tokens: false }
    expect(await poolingOf({ 'modules.json': modules, '1_Pooling/config.json': old })).toEqual({
      modes: ['cls'],
      normalize: false,
    })
    const later = [...modules, module('Normalize', '2_Normalize')]
    for (const [asked, modes] of [
      [{ pooling_mode: 'lasttoken' }, ['lastToken']],
      [{ pooling_mode: ['mean', 'max'] }, ['max', 'mean']],
      [
        { pooling_mode_weightedmean_tokens: true, pooling_mode_mean_sqrt_len_tokens: true },
        ['meanSqrtLen', 'weightedMean'],
      ],
    ]) {
      const found = await poolingOf({ 'modules.json': later, '1_Pooling/config.json': asked })
      expect(found).toEqual({ modes, normalize: true })
    }
  })

  it.each([
    [
      { pooling_mode_attention_tokens: true },
      modules,
      /pools by "pooling_mode_attention_tokens", expected cls, max, mean/,
    ],
    [{ pooling_mode: 'median' }, modules, /pools by "median"/],
    [{}, [...modules, module('Dense', '2_Dense')], /has a module "Dense" \(sentence_transformers\.models\.Dense\)/],
    [{}, modules.slice(0, 1), /modules\.json has no module "Pooling"/],
    [undefined, modules, /has no 1_Pooling\/config\.json, which modules\.json names/],
  ])('is refused by name where it is not computed here: %j', async (pooling, list, message) => {
    const files = { 'modules.json': list, ...(pooling && { '1_Pooling/config.json': pooling }) }
    await expect(poolingOf(files)).rejects.toThrow(message)
  })
})

it('measures a folder of sentence-transformers by its own pooling, and its export as well', async () => {
  const config = { pooling_mode_cls_token: true, pooling_mode_mean_tokens: false }
  const model = await loadModel(await saved({ 'modules.json': modules, '1_Pooling/config.json': config }))
  const engine = openLocalEngine(model, { threads: 1 })
  const rows = paddedRows('sentences', [Int32Array.of(5, 6, 7), Int32Array.of(9, 8, 7, 6, 5)], 0)
  const plan = withoutBlock(emptyPlan, model.blocks[1]!.id)
  const pooling = await sentencePoolingOf(model)
  const ask = { plans: [plan], measure: { name: 'hiddenStates' } } as const
  const [states] = await measureOn(engine, rows, ask)
  const embeddings = await embeddingsOf(engine, rows, plan, pooling)
  for (const row of [0, 1]) {
    expect([...embeddings[row]!]).toEqual([...states!.subarray(row * 5 * 24, (row * 5 + 1) * 24)])
  }
  const report = await measureEmbeddings(engine, { batches: [rows], pooling }, plan)
  const dense = await embeddingsOf(engine, rows, emptyPlan, pooling)
  const dot = (a: Float64Array, b: Float64Array) => a.reduce((total, value, i) => total + value * b[i]!, 0)
  const cosines = dense.map((a, i) => dot(a, embeddings[i]!) / (Math.hypot(...a) * Math.hypot(...embeddings[i]!)))
  expect(report.meanCosine).toBeCloseTo((cosines[0]! + cosines[1]!) / 2, 12)
  expect(report.meanCosine).toBeLessThan(0.9999)
  await engine.close()

  const folder = join(await mkdtemp(join(tmpdir(), 'exported-')), 'model')
  await exportHuggingFace(model, plan, folder)
  await model.weights.close()
  const reopened = await loadModel(folder)
  expect(await sentencePoolingOf(reopened)).toEqual(pooling)
  await reopened.weights.close()
})
