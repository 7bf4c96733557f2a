import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { openLocalEngine } from '../../src/engine/localEngine.ts'
import type { OutputDistance } from '../../src/measures/distanceRecipes.ts'
import type { Engine } from '../../src/measures/measurement.ts'
import { finerCut } from '../../src/methods/finerCut.ts'
import { loadModel } from '../../src/model/load.ts'
import type { Model } from '../../src/model/model.ts'
import { emptyPlan, withoutBlock } from '../../src/model/plan.ts'
import { distanceObjective } from '../../src/objectives/outputDistance.ts'
import { perplexityObjective } from '../../src/objectives/perplexity.ts'
import type { BlockId, PruningPlan } from '../../src/types.ts'
import { expectError } from '../measured.ts'
import { referenceOf, referenceRows, smollm2 } from './smollm2.ts'

const path = await smollm2()
if (path === undefined) test.skip('FinerCut on SmolLM2-135M: the model is not here', () => {})

type Candidate = readonly [kind: 'mha' | 'mlp' | 'layer', layer: number]

const blocksOf = ([kind, layer]: Candidate): BlockId[] => {
  if (kind === 'layer') return [`decoder.${layer}.attention`, `decoder.${layer}.mlp`]
  return [`decoder.${layer}.${kind === 'mha' ? 'attention' : 'mlp'}`]
}
const planOf = (candidate: Candidate): PruningPlan => blocksOf(candidate).reduce(withoutBlock, emptyPlan)

/** Name in the reference file, largest relative difference measured. The released forms are sums in float32 there. */
const measures: readonly [OutputDistance, string, number][] = [
  ['js', 'js_all_tokens_mean', 5.4e-6],
  ['angular', 'angular_all_tokens_mean', 3.3e-6],
  ['euclidean', 'euclid_all_tokens_mean', 4.5e-6],
  ['js_reversed', 'official_js', 2.0e-5],
  ['official_kl', 'official_kl', 3.2e-5],
  ['official_angular', 'official_angular', 1.4e-4],
  ['official_norm', 'official_norm', 8.0e-5],
]

describe.runIf(path !== undefined)('FinerCut on SmolLM2-135M, 2 x 32 tokens', () => {
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

  test.each(measures)(
    'measures %s as the reference does for every block and layer',
    async (measure, name, measured) => {
      const { candidates } = await referenceOf('first_2x32.json')
      expect(candidates).toHaveLength(90)
      const distance = distanceObjective(engine, await referenceRows(2, 32), measure)
      const found = await distance.evaluate(candidates.map(({ cand }: { cand: Candidate }) => planOf(cand)))
      const errors = found.map((value, i) => Math.abs(value / candidates[i].div[name] - 1))
      expectError(Math.max(...errors), measured)
    },
  )

  test('is 0 for the dense model itself', async () => {
    const rows = await referenceRows(2, 32)
    for (const [measure] of measures) {
      expect((await distanceObjective(engine, rows, measure).evaluate([emptyPlan]))[0]).toBeCloseTo(0, 6)
    }
  })

  test('removes in the order of the released code', async () => {
    const { order, best } = await referenceOf('finercut_official_js_8_2x32.json')
    const rows = await referenceRows(2, 32)
    const distance = distanceObjective(engine, rows, 'js_reversed')
    const found: BlockId[] = []
    for await (const step of finerCut(model, perplexityObjective(engine, rows), distance, { order: 'names' })) {
      expectError(Math.abs(step.score! / best[found.length] - 1), 1.8e-5)
      found.push(...step.removed)
      if (found.length === order.length) break
    }
    expect(found).toEqual(order.flatMap(blocksOf))
  })
})
