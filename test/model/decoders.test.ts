import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { openLocalEngine } from '../../src/engine/localEngine.ts'
import type { Engine } from '../../src/measures/measurement.ts'
import { applyPlan } from '../../src/model/applyPlan.ts'
import { architectures } from '../../src/model/families.ts'
import type { Model } from '../../src/model/model.ts'
import { emptyPlan, removedParameters } from '../../src/model/plan.ts'
import type { Block, PruningPlan } from '../../src/types.ts'
import * as ask from '../asked.ts'
import { expectError } from '../measured.ts'
import { type Fixture, openFixture } from './openFixture.ts'

/** The families as transformers' defaults make them. */
const families = 'bloom falcon gemma gemma2 gemma3 gpt2 gpt_neox llama mistral opt phi phi3 qwen2 qwen3'.split(' ')

/** The forms and shapes those leave out; make.py beside them says which. */
const variants = [
  ...['baichuan-7b', 'baichuan-13b', 'bloom-six-heads', 'falcon-alibi', 'falcon-grouped', 'falcon-grouped-one-norm'],
  ...['gemma-legacy', 'gemma2-window', 'gemma3-window', 'gpt2-odd-heads', 'gpt_neox-sequential', 'llama-biases'],
  ...['llama-one-head', 'mistral-window', 'opt-no-biases', 'phi-head-norms', 'phi3-partial', 'qwen2-window'],
  ...['opt-narrow-embeddings', 'qwen3-wide-heads', 'qwen3-yarn', 'llama-yarn-untruncated', 'phi3-long', 'phi3-short'],
  ...['mistral-dynamic', 'mistral-layer-types', 'seed_oss-biases', 'llama-foreign-keys'],
]

const fixtures = [...families.map((name) => `tiny-random/${name}`), ...variants.map((name) => `tiny-variants/${name}`)]

it('tries every decoder family there is', async () => {
  const opened = await Promise.all(fixtures.map(openFixture))
  const tried = opened.map(({ model }) => model.config['model_type'])
  await Promise.all(opened.map(({ model }) => model.weights.close()))
  const known = architectures.filter(({ family }) => family === 'decoder').flatMap(({ modelTypes }) => modelTypes)
  expect(known.filter((type) => !tried.includes(type))).toEqual([])
})

describe.each(fixtures)('%s', (path) => {
  let fixture: Fixture
  let engine: Engine
  let dense: Float32Array

  beforeAll(async () => {
    fixture = await openFixture(path)
    engine = openLocalEngine(fixture.model, { threads: 1 })
    dense = await ask.logits(engine, fixture.rows, emptyPlan)
  })
  afterAll(async () => {
    await engine?.close()
    await fixture?.model.weights.close()
  })

  it('gives the logits and the loss of transformers', async () => {
    const { rows, expected } = fixture
    const vocabulary = expected.logits_last.length
    const last = dense.subarray((rows.rowLength - 1) * vocabulary, rows.rowLength * vocabulary)
    expectError(greatestDifference(last, expected.logits_last), 6.2e-6)
    const sum = dense.reduce((total, logit) => total + Math.abs(logit), 0)
    expectError(Math.abs(sum / expected.logits_sum_abs - 1), 8.3e-8)
    const [losses] = await ask.tokenLosses(engine, rows, [emptyPlan])
    const loss = losses!.reduce((total, nats) => total + nats, 0) / (rows.rows * (rows.rowLength - 1))
    expectError(Math.abs(loss / expected.loss - 1), 1.4e-7)
  })

  it('gives the same logits with the fused kernel and from primitives', async () => {
    const primitives = openLocalEngine(fixture.model, { threads: 1, kernel: 'primitives' })
    expectError(greatestDifference(await ask.logits(primitives, fixture.rows, emptyPlan), dense), 8.2e-6)
    await primitives.close()
  })

  it('counts every parameter of the checkpoint once, and all of the blocks when all of them go', () => {
    const { model } = fixture
    const stored = [...model.weights.tensors.values()].map(({ shape }) => shape.reduce((a, b) => a * b, 1))
    expect(model.parameters).toBe(stored.reduce((a, b) => a + b, 0))
    const outer = new Set(Object.values(model.outer).map(([name]) => name))
    const left = [...model.weights.tensors.values()].filter(({ name }) => outer.has(name))
    const all: PruningPlan = { blocks: model.blocks.map(({ id }) => id), units: {}, outputNorms: 'drop' }
    expect(model.parameters - removedParameters(model, all)).toBe(
      left.reduce((total, { shape }) => total + shape.reduce((a, b) => a * b, 1), 0),
    )
  })

  it.each(['attention', 'mlp'] as const)('removing an %s equals zeroing its output projection', async (kind) => {
    const block = fixture.model.blocks.findLast((candidate) => candidate.kind === kind)!
    const removed = await ask.logits(engine, fixture.rows, { blocks: [block.id], units: {} })
    const zeroed = await logitsWithout(fixture, block, () => true)
    expect(greatestDifference(removed, dense)).toBeGreaterThan(1e-4)
    expectError(greatestDifference(removed, zeroed), 0)
  })

  it.for(['attention', 'mlp'] as const)('removing units of an %s equals masking them', async (kind, { skip }) => {
    const block = fixture.model.blocks.find((candidate) => candidate.kind === kind)!
    // the only unit of a block goes with the block, whose bias would stay behind a mask
    const units = [0, 1, block.units - 1].filter((unit, i, all) => unit < block.units - 1 && all.indexOf(unit) === i)
    if (block.units === 1) skip('its one unit goes with the block')
    const removed = await ask.logits(engine, fixture.rows, { blocks: [], units: { [block.id]: units } })
    const channels = kind === 'attention' ? headChannels(fixture.model) : 1
    const masked = await logitsWithout(fixture, block, (input) => units.includes(Math.floor(input / channels)))
    expect(greatestDifference(removed, dense)).toBeGreaterThan(1e-5)
    expectError(greatestDifference(removed, masked), 0)
  })

  it('evaluates plans together as it evaluates them one by one', async () => {
    const { model, rows } = fixture
    const plans = [...model.blocks.map(({ id }) => ({ blocks: [id], units: {} })), emptyPlan]
    const together = await ask.tokenLosses(engine, rows, plans)
    for (const [i, plan] of plans.entries()) {
      // another object, for which the engine remembers nothing
      expect(await ask.tokenLosses(engine, { ...rows }, [plan])).toEqual([together[i]])
    }
  })

  it('gives the same logits for a plan and for the model it is applied to, twice', async () => {
    const { model, rows } = fixture
    const attention = model.blocks[0]!
    const units = attention.units > 2 ? [0] : []
    const mlp = model.blocks[1]!
    const first: PruningPlan = { blocks: [], units: { [attention.id]: units, [mlp.id]: [1, 3] } }
    const second: PruningPlan = {
      blocks: model.blocks.slice(2, 3).map(({ id }) => id),
      units: { [attention.id]: units },
    }
    const both: PruningPlan = {
      blocks: second.blocks,
      units: { [attention.id]: units.flatMap(() => [0, 1]), [mlp.id]: [1, 3] },
    }
    const applied = applyPlan(applyPlan(model, first), second)
    expect(applied.parameters).toBe(model.parameters - removedParameters(model, both))
    const forward = openLocalEngine(applied, { threads: 1 })
    expectError(greatestDifference(await ask.logits(forward, rows, emptyPlan), await ask.logits(engine, rows, both)), 0)
    await forward.close()
  })
})

/** Output channels of attention that one unit, a key/value head with its query heads, owns. */
function headChannels({ sizes }: Model): number {
  return (sizes['G'] ?? 1) * sizes['E']!
}

/** Logits of the whole model with 0 for the inputs of a block's output projection that `isGone` names; its bias too when all go. */
async function logitsWithout({ model, rows }: Fixture, block: Block, isGone: (input: number) => boolean) {
  const role = block.kind === 'attention' ? 'o' : 'down'
  const matrix = block.weights[`${role}Proj`]![0]
  const bias = block.weights[`${role}Bias`]?.[0]
  const table = model.architecture.stacks.decoder!.blocks.find(({ kind }) => kind === block.kind)!
  const form = table.form(model.config, block.layer)
  const inputFirst = 'inputFirst' in form && form.inputFirst === true
  const outputs = model.sizes['D']!
  const read = async (name: string) => {
    const values = await model.weights.read(name)
    if (name === bias) return isGone(Number.POSITIVE_INFINITY) ? values.fill(0) : values
    if (name !== matrix) return values
    const inputs = values.length / outputs
    return values.map((value, i) => (isGone(inputFirst ? Math.floor(i / outputs) : i % inputs) ? 0 : value))
  }
  const forward = openLocalEngine({ ...model, weights: { ...model.weights, read } }, { threads: 1 })
  const logits = await ask.logits(forward, rows, emptyPlan)
  await forward.close()
  return logits
}

function greatestDifference(a: ArrayLike<number>, b: ArrayLike<number>): number {
  expect(a.length).toBe(b.length)
  let greatest = 0
  for (let i = 0; i < a.length; i++) greatest = Math.max(greatest, Math.abs(a[i]! - b[i]!))
  return Number.isNaN(greatest) ? Number.POSITIVE_INFINITY : greatest
}
