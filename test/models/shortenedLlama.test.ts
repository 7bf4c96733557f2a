import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { openLocalEngine } from '../../src/engine/localEngine.ts'
import type { Engine } from '../../src/measures/measurement.ts'
import { shortenedLlama } from '../../src/methods/shortenedLlama.ts'
import { loadModel } from '../../src/model/load.ts'
import type { Model } from '../../src/model/model.ts'
import { perplexityObjective } from '../../src/objectives/perplexity.ts'
import type { LossArithmetic, Objective } from '../../src/types.ts'
import { expectError } from '../measured.ts'
import { referenceOf, referenceRows, smollm2 } from './smollm2.ts'

const path = await smollm2()
if (path === undefined) test.skip('Shortened LLaMA on SmolLM2-135M: the model is not here', () => {})

/** Steps are not measured here, only the scores. */
const unmeasured: Objective = { unit: 'nats per token', evaluate: async (plans) => plans.map(() => 0) }

describe.runIf(path !== undefined)('Shortened LLaMA on SmolLM2-135M', () => {
  let model: Model
  let engine: Engine
  beforeAll(async () => {
    model = await loadModel(path!)
    engine = openLocalEngine(model)
  })
  afterAll(async () => {
    await engine.close()
    await model.weights.close()
  })

  async function scoresOf(pooled: Objective, criterion: 'ppl' | 'magnitude') {
    const found = new Map<number, number>()
    for await (const step of shortenedLlama(model, unmeasured, pooled, { criterion, plus: false })) {
      found.set(Number(step.removed[0]!.split('.')[1]), step.score!)
    }
    return found
  }

  // PyTorch's float32 cross-entropy on the permuted logits of the reference is 1.3e-4 nats too low, which the precise sum is not
  test.each([
    ['precise', 1.5e-4],
    ['released', 4.6e-6],
  ] as [LossArithmetic, number][])('scores every layer by its perplexity, %s sums', async (arithmetic, measured) => {
    const reference = await referenceOf('layer_ppl_2x32.json')
    const rows = await referenceRows(2, 32)
    const found = await scoresOf(perplexityObjective(engine, rows, { average: 'tokens', arithmetic }), 'ppl')
    expect([...found.keys()]).toEqual(reference.order)
    for (const [layer, perplexity] of reference.ppl_per_layer.entries()) {
      expectError(Math.abs(Math.exp(found.get(layer)!) / perplexity - 1), measured)
    }
  })

  test('scores every layer by its weights', async () => {
    const { magnitude } = await referenceOf('grad_scores_16x32.json')
    const found = await scoresOf(unmeasured, 'magnitude')
    expect([...found.keys()]).toEqual(magnitude.order)
    for (const [layer, sum] of magnitude.per_layer.entries()) {
      expectError(Math.abs(found.get(layer)! / sum - 1), 7.8e-8)
    }
  })
})
