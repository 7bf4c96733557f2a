import { resolve } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { openLocalEngine } from '../../src/engine/localEngine.ts'
import type { Engine } from '../../src/measures/measurement.ts'
import { flap } from '../../src/methods/flap.ts'
import { applyPlan } from '../../src/model/applyPlan.ts'
import { describeModel } from '../../src/model/describe.ts'
import { openFolder } from '../../src/model/folder.ts'
import type { Model } from '../../src/model/model.ts'
import { decodeBias, encodeBias } from '../../src/model/outputBias.ts'
import { checkPlan, emptyPlan, planKey, removedParameters } from '../../src/model/plan.ts'
import { hiddenDistanceObjective } from '../../src/objectives/hiddenDistance.ts'
import type { PruningPlan, TokenRows } from '../../src/types.ts'
import * as ask from '../asked.ts'
import { expectError } from '../measured.ts'

/** Without biases, with, input-first, with norms behind the branch or in the stream, and with two stacks. */
const fixtures = ['llama', 'qwen2', 'gpt2', 'gemma2', 'phi', 'bert', 't5', 'bart']

function rowsFor({ architecture }: Model, rowLength: number): TokenRows {
  const rows = { ids: Int32Array.from({ length: rowLength }, (_, i) => 5 + 3 * i), rows: 1, rowLength }
  return architecture.family === 'encoderDecoder' ? { ...rows, decoder: rows } : rows
}

const largest = (a: Float32Array, b: Float32Array) => a.reduce((most, x, i) => Math.max(most, Math.abs(x - b[i]!)), 0)

describe.each(fixtures)('the bias compensation of FLAP on %s', (name) => {
  let model: Model
  let engine: Engine
  beforeAll(async () => {
    const folder = resolve(import.meta.dirname, '../fixtures/tiny-random', name)
    model = describeModel(name, folder, await openFolder(folder))
    engine = openLocalEngine(model, { threads: 1 })
  })
  afterAll(async () => {
    await engine?.close()
    await model?.weights.close()
  })

  async function planOn(rows: TokenRows, bias = true): Promise<PruningPlan> {
    const isReached = (plan: PruningPlan) => removedParameters(model, plan) >= 0.02 * model.parameters
    const steps = flap(model, hiddenDistanceObjective(engine, rows), engine, rows, { bias, isReached })
    const { value } = await steps.next()
    expect(Object.keys(value!.plan.units).length).toBeGreaterThan(0)
    return value!.plan
  }

  it('loses nothing where a channel is always at its mean, as in a text of one token', async () => {
    const rows = rowsFor(model, 1)
    const plan = await planOn(rows)
    const dense = await ask.hiddenStates(engine, rows, emptyPlan)
    const kept = plan.blocks.length === 0 ? await ask.hiddenStates(engine, rows, plan) : dense
    expectError(largest(kept, dense), 2.4e-6)
    const without = await ask.hiddenStates(engine, rows, { ...plan, outputBiases: {} })
    expect(largest(without, dense)).toBeGreaterThan(1e-4)
  })

  it('is in the weights of the model that the plan leaves', async () => {
    const rows = rowsFor(model, 6)
    const plan = await planOn(rows)
    const pruned = applyPlan(model, plan)
    expect(pruned.parameters).toBe(model.parameters - removedParameters(model, plan))
    const own = openLocalEngine(pruned, { threads: 1 })
    const [planned, applied] = [
      await ask.hiddenStates(engine, rows, plan),
      await ask.hiddenStates(own, rows, emptyPlan),
    ]
    await own.close()
    expectError(largest(planned, applied), 0)
    expect(largest(planned, await ask.hiddenStates(engine, rows, { ...plan, outputBiases: {} }))).toBeGreaterThan(1e-4)
  })
})

describe('output biases of a plan', () => {
  it('are plain text, exact in float32, and tell plans apart', () => {
    const values = Float32Array.of(0.1, -3e-20, 7)
    expect(decodeBias(encodeBias(values))).toEqual(values)
    const plan = (outputBiases: PruningPlan['outputBiases']): PruningPlan => ({ blocks: [], units: {}, outputBiases })
    const keys = [undefined, { 'decoder.0.mlp': encodeBias([1]) }, { 'decoder.0.mlp': encodeBias([2]) }].map((biases) =>
      planKey(plan(biases)),
    )
    expect(new Set(keys).size).toBe(3)
    expect(planKey(plan({}))).toBe(keys[0])
  })

  it('must fit the model', async () => {
    const folder = resolve(import.meta.dirname, '../fixtures/tiny-random/llama')
    const model = describeModel('llama', folder, await openFolder(folder))
    const biased = (id: string, values: number[], blocks: string[] = []) =>
      ({ blocks, units: {}, outputBiases: { [id]: encodeBias(values) } }) as unknown as PruningPlan
    const D = model.sizes['D']!
    expect(() => checkPlan(model, biased('decoder.0.mlp', Array(D).fill(0)))).not.toThrow()
    expect(() => checkPlan(model, biased('decoder.0.mlp', [1, 2]))).toThrow(/has 2 numbers, expected D=/)
    expect(() => checkPlan(model, biased('decoder.0.mlp', Array(D).fill(Number.NaN)))).toThrow(/finite/)
    expect(() => checkPlan(model, biased('decoder.0.mlp', Array(D).fill(0), ['decoder.0.mlp']))).toThrow(/not left/)
    await model.weights.close()
  })
})
