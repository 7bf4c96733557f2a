import { readFile } from 'node:fs/promises'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { openLocalEngine } from '../../src/engine/localEngine.ts'
import { UnsupportedModelError } from '../../src/errors.ts'
import type { Engine } from '../../src/measures/measurement.ts'
import { applyPlan } from '../../src/model/applyPlan.ts'
import { describeModel } from '../../src/model/describe.ts'
import { architectures } from '../../src/model/families.ts'
import { openFolder } from '../../src/model/folder.ts'
import type { Model } from '../../src/model/model.ts'
import { blockSizes, emptyPlan, planKey, removedParameters } from '../../src/model/plan.ts'
import { tasksOf } from '../../src/model/task.ts'
import type { Block, PruningPlan, TokenRows } from '../../src/types.ts'
import * as ask from '../asked.ts'
import { expectError } from '../measured.ts'

/** The families as transformers' defaults make them. */
const families = 'bert bert-cls roberta distilbert t5 flan-t5-gated bart marian'.split(' ')

/** The forms and shapes those leave out, with padding; make.py beside them says which. */
const variants = [
  ...['bert-headless', 'bert-old-names', 'bert-pretraining', 'bert-tokens', 'roberta-headless', 'roberta-cls'],
  ...['roberta-padding-inside', 'bert-untied'],
  ...['distilbert-cls', 't5-wide-heads', 't5-untied', 'bart-scaled', 'bart-uneven', 'bart-untied', 'marian-unshared'],
]

const fixtures = [...families.map((name) => `tiny-random/${name}`), ...variants.map((name) => `tiny-encoders/${name}`)]

it('tries every encoder and encoder-decoder family there is', async () => {
  const opened = await Promise.all(fixtures.map(openFixture))
  const tried = opened.map(({ model }) => model.architecture)
  await Promise.all(opened.map(({ model }) => model.weights.close()))
  const known = architectures.filter(({ family }) => family !== 'decoder')
  expect(known.filter((architecture) => !tried.includes(architecture))).toEqual([])
  expect(known.length).toBeGreaterThan(5)
})

describe.each(fixtures)('%s', (path) => {
  let fixture: Fixture
  let engine: Engine
  let dense: Float32Array

  beforeAll(async () => {
    fixture = await openFixture(path)
    engine = openLocalEngine(fixture.model, { threads: 1 })
    dense = await outputs(engine, fixture, emptyPlan)
  })
  afterAll(async () => {
    await engine?.close()
    await fixture?.model.weights.close()
  })

  it('gives the numbers of transformers', async () => {
    const { model, rows, expected, isPredicting } = fixture
    if (expected.rows === undefined) {
      const last = dense.subarray(dense.length - expected.last!.length)
      expectError(greatestDifference(last, expected.last!), 1.1e-5)
      const sum = dense.reduce((total, logit) => total + Math.abs(logit), 0)
      expectError(Math.abs(sum / expected.sumOfAbsolutes! - 1), 7.8e-8)
    } else {
      const width = dense.length / expected.rows.length
      const predicting = model.architecture.family === 'encoderDecoder' ? rows.decoder! : rows
      for (const [i, values] of expected.rows.entries()) {
        if (expected.rows.length > rows.rows && isPadding(predicting, i)) continue
        expectError(greatestDifference(dense.subarray(i * width, (i + 1) * width), values), 4.8e-5)
      }
    }
    expect(expected.loss === undefined).toBe(!isPredicting)
    if (expected.loss === undefined) return
    const [losses] = await ask.tokenLosses(engine, rows, [emptyPlan])
    const targets = (rows.decoder ?? rows).targets!.filter((target) => target >= 0)
    const loss = losses!.reduce((total, nats) => total + nats, 0) / targets.length
    expectError(Math.abs(loss / expected.loss - 1), 6.5e-7)
  })

  it('gives the same with the fused kernel and from primitives, for all heads and for some', async () => {
    const primitives = openLocalEngine(fixture.model, { threads: 1, kernel: 'primitives' })
    const some: PruningPlan = { blocks: [], units: Object.fromEntries(attentions(fixture).map(({ id }) => [id, [1]])) }
    for (const plan of [emptyPlan, some]) {
      const fused = await outputs(engine, fixture, plan)
      expectError(greatestDifference(await outputs(primitives, fixture, plan), fused), 3.5e-6)
    }
    await primitives.close()
  })

  it('counts every parameter of the checkpoint once, and those of the blocks when all of them go', () => {
    const { model } = fixture
    const stored = [...model.weights.tensors.values()].map(({ shape }) => shape.reduce((a, b) => a * b, 1))
    expect(model.parameters).toBe(stored.reduce((a, b) => a + b, 0))
    const all = { blocks: model.blocks.map(({ id }) => id), units: {} }
    const inBlocks = model.blocks.reduce((total, { parameters }) => total + parameters, 0)
    expect(removedParameters(model, { ...all, outputNorms: 'drop' })).toBe(inBlocks)
    const norms = model.blocks.flatMap(({ weights }) => Object.keys(weights).filter((role) => role === 'outputNorm'))
    expect(removedParameters(model, all)).toBe(inBlocks - 2 * norms.length * model.sizes['D']!)
  })

  it('removing any block equals zeroing its output projection and its bias', async () => {
    for (const block of fixture.model.blocks) {
      const removed = await outputs(engine, fixture, { blocks: [block.id], units: {} })
      const zeroed = await outputsWithout(fixture, block, () => true)
      expect(greatestDifference(removed, dense), block.id).toBeGreaterThan(1e-6)
      expectError(greatestDifference(removed, zeroed), 0, block.id)
    }
  })

  it('removing units of any block equals masking them', async () => {
    for (const block of fixture.model.blocks) {
      const units = [0, block.units - 1]
      const removed = await outputs(engine, fixture, { blocks: [], units: { [block.id]: units } })
      const channels = block.kind === 'mlp' ? 1 : blockSizes(fixture.model, block)['E']!
      const masked = await outputsWithout(fixture, block, (input) => units.includes(Math.floor(input / channels)))
      expect(greatestDifference(removed, dense), block.id).toBeGreaterThan(1e-7)
      expectError(greatestDifference(removed, masked), 0, block.id)
    }
  })

  it('a removed branch leaves the norm behind it, or takes it along where the plan says so', async () => {
    const { model, rows } = fixture
    const last = model.blocks.at(-1)!
    const norm = last.weights['outputNorm']
    const kept: PruningPlan = { blocks: [last.id], units: {} }
    const dropped: PruningPlan = { ...kept, outputNorms: 'drop' }
    expect(planKey(kept)).not.toBe(planKey(dropped))
    const [withNorm, without] = [
      await ask.hiddenStates(engine, rows, kept),
      await ask.hiddenStates(engine, rows, dropped),
    ]
    if (norm === undefined) return expect(without).toEqual(withNorm)
    const scale = await model.weights.read(norm[0])
    const bias = await model.weights.read(last.weights['outputNormBias']![0])
    expectError(greatestDifference(layerNorm(without, scale, bias), withNorm), 1.9e-5)
    expect(greatestDifference(without, withNorm)).toBeGreaterThan(1e-3)
  })

  it('evaluates plans together as it evaluates them one by one', async () => {
    const { model, rows } = fixture
    const removals = model.blocks.map(({ id }): PruningPlan => ({ blocks: [id], units: {} }))
    const plans: PruningPlan[] = [
      ...removals,
      ...removals.slice(-2).map((plan) => ({ ...plan, outputNorms: 'drop' as const })),
      { blocks: [], units: { [model.blocks.at(-1)!.id]: [3], [model.blocks[0]!.id]: [1] } },
      emptyPlan,
    ]
    const evaluate = (of: TokenRows, asked: readonly PruningPlan[]) =>
      fixture.isPredicting
        ? ask.tokenLosses(engine, of, asked)
        : ask.hiddenDistances(engine, of, asked, { by: 'meanSquared' })
    const together = await evaluate(rows, plans)
    for (const [i, plan] of plans.entries()) {
      // another object, for which the engine remembers nothing
      expect(await evaluate({ ...rows }, [plan])).toEqual([together[i]])
    }
  })

  it('gives the same for a plan and for the model it is applied to, twice', async () => {
    const { model } = fixture
    const attention = attentions(fixture).at(-1)!
    const removed = model.blocks.filter(({ id }) => id !== attention.id).map(({ id }) => id)
    for (const outputNorms of ['keep', 'drop'] as const) {
      const first: PruningPlan = { blocks: removed.slice(0, 2), units: { [attention.id]: [0] }, outputNorms }
      const second: PruningPlan = { blocks: removed.slice(2, 3), units: { [attention.id]: [0] }, outputNorms }
      const both: PruningPlan = { blocks: removed.slice(0, 3), units: { [attention.id]: [0, 1] }, outputNorms }
      const applied = applyPlan(applyPlan(model, first), second)
      expect(applied.parameters).toBe(model.parameters - removedParameters(model, both))
      const forward = openLocalEngine(applied, { threads: 1 })
      const planned = await outputs(engine, fixture, both)
      expectError(greatestDifference(await outputs(forward, fixture, emptyPlan), planned), 0)
      await forward.close()
    }
  })

  it('measures how far hidden states move', async () => {
    const { model, rows } = fixture
    const plan: PruningPlan = { blocks: [model.blocks.at(-1)!.id], units: {} }
    const [h, moved] = [await ask.hiddenStates(engine, rows, emptyPlan), await ask.hiddenStates(engine, rows, plan)]
    const read = rows.decoder ?? rows
    const width = model.sizes['D']!
    for (const measure of ['cosine', 'meanSquared'] as const) {
      const [none, some] = await ask.hiddenDistances(engine, rows, [emptyPlan, plan], { by: measure })
      expect(Math.max(...none!.map(Math.abs))).toBeLessThan(1e-12)
      for (let row = 0; row < read.rows; row++) {
        const tokens = read.lengths?.[row] ?? read.rowLength
        let total = 0
        for (let t = 0; t < tokens; t++) {
          const at = (row * read.rowLength + t) * width
          total += distance(measure, h.subarray(at, at + width), moved.subarray(at, at + width)) / tokens
        }
        expect(some![row]).toBeCloseTo(total, 10)
        expect(total).toBeGreaterThan(0)
      }
    }
  })
})

it.each(variants)('%s: what stands in the padding changes nothing', async (name) => {
  const { model, rows, isPredicting } = await openFixture(`tiny-encoders/${name}`)
  const engine = openLocalEngine(model, { threads: 1 })
  const ids = rows.ids.map((id, i) => (isPadding(rows, i) ? 7 : id))
  expect(ids).not.toEqual(rows.ids)
  const changed = { ...rows, ids }
  const [a, b] = [await ask.hiddenStates(engine, rows, emptyPlan), await ask.hiddenStates(engine, changed, emptyPlan)]
  const read = rows.decoder ?? rows
  const width = model.sizes['D']!
  const kept = (_: number, i: number) => !isPadding(read, Math.floor(i / width))
  expect(b.filter(kept)).toEqual(a.filter(kept))
  if (isPredicting) {
    expect(await ask.tokenLosses(engine, changed, [emptyPlan])).toEqual(
      await ask.tokenLosses(engine, rows, [emptyPlan]),
    )
  }
  await Promise.all([engine.close(), model.weights.close()])
})

it.each(families)('%s: full rows give the same whether or not they are told to be full', async (name) => {
  const { model, rows } = await openFixture(`tiny-random/${name}`)
  const engine = openLocalEngine(model, { threads: 1 })
  expect(rows.lengths).toBeUndefined()
  const told = { ...rows, lengths: new Int32Array(rows.rows).fill(rows.rowLength) }
  const [a, b] = [await ask.hiddenStates(engine, rows, emptyPlan), await ask.hiddenStates(engine, told, emptyPlan)]
  // two kernels
  expectError(greatestDifference(a, b), 6e-6)
  await Promise.all([engine.close(), model.weights.close()])
})

it.each(['t5', 'flan-t5-gated'])('%s keeps its position bias when the attention that stores it goes', async (name) => {
  const fixture = await openFixture(`tiny-random/${name}`)
  const { model } = fixture
  const engine = openLocalEngine(model, { threads: 1 })
  const plan: PruningPlan = { blocks: ['encoder.0.attention', 'decoder.0.attention'], units: {} }
  const pruned = await outputs(engine, fixture, plan)
  const read = async (tensor: string) => {
    const values = await model.weights.read(tensor)
    return tensor.includes('relative_attention_bias') ? values.fill(0) : values
  }
  const unbiased = openLocalEngine({ ...model, weights: { ...model.weights, read } }, { threads: 1 })
  expect(greatestDifference(await outputs(unbiased, fixture, plan), pruned)).toBeGreaterThan(1e-4)
  const left = applyPlan(model, plan)
  expect(Object.values(left.outer).flat().join(' ')).toContain('relative_attention_bias')
  await Promise.all([engine.close(), unbiased.close(), model.weights.close()])
})

it.each([
  ['tiny-random/bert', { position_embedding_type: 'relative_key' }, 'position_embedding_type'],
  ['tiny-random/bert', { is_decoder: true }, 'is_decoder'],
  ['tiny-random/bert', { hidden_act: 'mish' }, 'hidden_act'],
  ['tiny-random/bert', { num_attention_heads: 5 }, 'num_attention_heads'],
  ['tiny-random/bert-cls', { problem_type: 'regression' }, 'problem_type'],
  ['tiny-random/distilbert', { activation: 'mish' }, 'activation'],
  ['tiny-random/t5', { feed_forward_proj: 'gated-selu' }, 'feed_forward_proj'],
  ['tiny-random/bart', { normalize_before: true }, 'normalize_before'],
  ['tiny-random/bart', { decoder_attention_heads: 5 }, 'decoder_attention_heads'],
  ['tiny-random/bart', { activation_function: 'selu' }, 'activation_function'],
  ['tiny-random/marian', { static_position_embeddings: false }, 'static_position_embeddings'],
])('%s with %o is refused by the name of the value', async (path, changes, name) => {
  const folder = fileURLToPath(new URL(`../fixtures/${path}`, import.meta.url))
  const opened = await openFolder(folder)
  const open = () => {
    const model = describeModel(path, folder, { ...opened, config: { ...opened.config, ...changes } })
    return openLocalEngine(model, { threads: 1 })
  }
  expect(open).toThrow(UnsupportedModelError)
  expect(open).toThrow(`"${name}"`)
  await opened.weights.close()
})

it('says what each kind of model is scored by', async () => {
  const first: Record<string, string> = {}
  for (const path of fixtures) {
    const { model } = await openFixture(path)
    first[path.split('/')[1]!] = tasksOf(model)[0]!
    await model.weights.close()
  }
  expect(first).toMatchObject({
    ...{ bert: 'maskedToken', roberta: 'maskedToken', 'bert-old-names': 'maskedToken' },
    ...{ 'bert-cls': 'rowClass', 'roberta-cls': 'rowClass', 'distilbert-cls': 'rowClass' },
    ...{
      'bert-headless': 'hiddenStates',
      'roberta-headless': 'hiddenStates',
      'roberta-padding-inside': 'hiddenStates',
      'bert-tokens': 'hiddenStates',
    },
    ...{ t5: 'spanCorruption', bart: 'spanCorruption' },
  })
})

it('refuses to predict what the rows do not say, and rows longer than the positions', async () => {
  const { model, rows } = await openFixture('tiny-random/bert')
  const engine = openLocalEngine(model, { threads: 1 })
  await expect(ask.tokenLosses(engine, rows, [emptyPlan])).rejects.toThrow('targets')
  const long = { ids: new Int32Array(300), rows: 1, rowLength: 300 }
  await expect(ask.hiddenStates(engine, long, emptyPlan)).rejects.toThrow('256 positions')
  await Promise.all([engine.close(), model.weights.close()])
  const bare = await openFixture('tiny-encoders/bert-headless')
  const headless = openLocalEngine(bare.model, { threads: 1 })
  const predicting = { ...bare.rows, targets: bare.rows.ids }
  await expect(ask.tokenLosses(headless, predicting, [emptyPlan])).rejects.toThrow(UnsupportedModelError)
  await Promise.all([headless.close(), bare.model.weights.close()])
  const pair = await openFixture('tiny-random/t5')
  const decoding = openLocalEngine(pair.model, { threads: 1 })
  await expect(ask.tokenLosses(decoding, { ...pair.rows, decoder: undefined }, [emptyPlan])).rejects.toThrow('decoder')
  await Promise.all([decoding.close(), pair.model.weights.close()])
})

interface Fixture {
  readonly model: Model
  readonly rows: TokenRows
  readonly isPredicting: boolean
  readonly hasHead: boolean
  readonly expected: {
    /** Logits, or hidden states, of every position or class of every row. */
    readonly rows?: readonly (readonly number[])[]
    readonly last?: readonly number[]
    readonly sumOfAbsolutes?: number
    readonly loss?: number
  }
}

interface ExpectedFile {
  readonly inputs?: { readonly input_ids: number[][]; readonly labels?: number[][] }
  readonly logits_last?: number[]
  readonly logits_sum_abs?: number
  readonly loss?: number
  readonly input_ids?: number[][]
  readonly attention_mask?: number[][]
  readonly decoder_input_ids?: number[][]
  readonly labels?: number[][] | number[]
  readonly logits?: number[][]
  readonly hidden?: number[][]
}

async function openFixture(path: string): Promise<Fixture> {
  const folder = fileURLToPath(new URL(`../fixtures/${path}`, import.meta.url))
  const file = JSON.parse(await readFile(`${folder}/expected.json`, 'utf8')) as ExpectedFile
  const model = describeModel(path, folder, await openFolder(folder))
  const ids = file.input_ids ?? file.inputs!.input_ids
  const labels = file.labels ?? file.inputs?.labels
  const base = rowsOf(ids)
  const lengths = file.attention_mask && Int32Array.from(file.attention_mask, (mask) => mask.filter(Boolean).length)
  const rows = { ...base, ...(lengths && { lengths }), ...targetsOf(model, base, file, labels) }
  return {
    model,
    rows,
    isPredicting: rows.targets !== undefined || rows.decoder !== undefined,
    hasHead: file.hidden === undefined,
    expected: {
      ...(file.loss !== undefined && { loss: file.loss }),
      ...((file.logits ?? file.hidden) && { rows: (file.logits ?? file.hidden)! }),
      ...(file.logits_last && { last: file.logits_last, sumOfAbsolutes: file.logits_sum_abs! }),
    },
  }
}

function targetsOf(
  model: Model,
  base: TokenRows,
  file: ExpectedFile,
  labels: ExpectedFile['labels'],
): Partial<TokenRows> {
  if (labels === undefined) return {}
  const notIgnored = (id: number) => (id < 0 ? -1 : id)
  if (model.architecture.family === 'encoderDecoder') {
    const wanted = labels as number[][]
    const start = model.config['decoder_start_token_id'] as number
    const inputs = file.decoder_input_ids ?? wanted.map((row) => [start, ...row.slice(0, -1)])
    const lengths = Int32Array.from(wanted, (row) => row.filter((id) => id >= 0).length)
    return { decoder: { ...rowsOf(inputs), lengths, targets: Int32Array.from(wanted.flat(), notIgnored) } }
  }
  const targets = new Int32Array(base.ids.length).fill(-1)
  if (Array.isArray(labels[0])) targets.set((labels as number[][]).flat().map(notIgnored))
  else for (const [row, label] of (labels as number[]).entries()) targets[row * base.rowLength] = label
  return { targets }
}

function rowsOf(ids: readonly (readonly number[])[]): TokenRows {
  return { ids: Int32Array.from(ids.flat()), rows: ids.length, rowLength: ids[0]!.length }
}

function isPadding({ lengths, rowLength }: TokenRows, position: number): boolean {
  return position % rowLength >= (lengths?.[Math.floor(position / rowLength)] ?? rowLength)
}

function attentions({ model }: Fixture): Block[] {
  return model.blocks.filter(({ kind }) => kind !== 'mlp')
}

/** The logits, or the hidden states of a model without a head. */
function outputs(engine: Engine, { rows, hasHead }: Fixture, plan: PruningPlan): Promise<Float32Array> {
  return hasHead ? ask.logits(engine, rows, plan) : ask.hiddenStates(engine, rows, plan)
}

/** Outputs with 0 for the inputs of a block's output projection that `isGone` names; its bias too when all go. */
async function outputsWithout(fixture: Fixture, block: Block, isGone: (input: number) => boolean) {
  const { model } = fixture
  const role = block.kind === 'mlp' ? 'down' : 'o'
  const matrix = block.weights[`${role}Proj`]![0]
  const bias = block.weights[`${role}Bias`]?.[0]
  const outputSize = model.sizes['D']!
  const read = async (name: string) => {
    const values = await model.weights.read(name)
    if (name === bias) return isGone(Number.POSITIVE_INFINITY) ? values.fill(0) : values
    if (name !== matrix) return values
    const inputs = values.length / outputSize
    return values.map((value, i) => (isGone(i % inputs) ? 0 : value))
  }
  const forward = openLocalEngine({ ...model, weights: { ...model.weights, read } }, { threads: 1 })
  const result = await outputs(forward, fixture, emptyPlan)
  await forward.close()
  return result
}

function layerNorm(x: Float32Array, scale: Float32Array, bias: Float32Array): Float32Array {
  const width = scale.length
  return x.map((_, i) => {
    const row = x.subarray(i - (i % width), i - (i % width) + width)
    const mean = row.reduce((a, b) => a + b, 0) / width
    const variance = row.reduce((a, b) => a + (b - mean) ** 2, 0) / width
    return ((x[i]! - mean) / Math.sqrt(variance + 1e-5)) * scale[i % width]! + bias[i % width]!
  })
}

function distance(measure: 'cosine' | 'meanSquared', a: Float32Array, b: Float32Array): number {
  const dot = (x: Float32Array, y: Float32Array) => x.reduce((total, value, i) => total + value * y[i]!, 0)
  if (measure === 'meanSquared') return a.reduce((total, value, i) => total + (value - b[i]!) ** 2, 0) / a.length
  return 1 - dot(a, b) / Math.sqrt(dot(a, a) * dot(b, b))
}

function greatestDifference(a: ArrayLike<number>, b: ArrayLike<number>): number {
  expect(a.length).toBe(b.length)
  let greatest = 0
  for (let i = 0; i < a.length; i++) greatest = Math.max(greatest, Math.abs(a[i]! - b[i]!))
  return Number.isNaN(greatest) ? Number.POSITIVE_INFINITY : greatest
}
