import { mkdtempSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { openLocalEngine } from '../../src/engine/localEngine.ts'
import type { Engine } from '../../src/measures/measurement.ts'
import type { Method } from '../../src/methods/method.ts'
import type { MethodOptions } from '../../src/methods/options.ts'
import { methods, optionsOf } from '../../src/methods/registry.ts'
import { describeModel } from '../../src/model/describe.ts'
import { openFolder } from '../../src/model/folder.ts'
import type { Model } from '../../src/model/model.ts'
import { emptyPlan, removedParameters } from '../../src/model/plan.ts'
import { distanceObjective } from '../../src/objectives/outputDistance.ts'
import { type Budget, isReached } from '../../src/run/budget.ts'
import { cacheBytesPerToken, exportedBytes } from '../../src/run/cost.ts'
import { openJournal } from '../../src/run/journal.ts'
import { foretoldSpeedup, measureParts, type PartSeconds, type Timer } from '../../src/run/latency.ts'
import { readPlanFile } from '../../src/run/planFile.ts'
import { type Progress, prune } from '../../src/run/prune.ts'
import { singleBlocks } from '../../src/search/candidates.ts'
import type { BlockKind, PruningPlan, TokenRows } from '../../src/types.ts'

const fixtures = ['tiny-random/llama', 'tiny-random/bert', 'tiny-random/t5', 'tiny-encoders/bart-uneven']
const kinds: readonly BlockKind[] = ['attention', 'crossAttention', 'mlp']
const budgets = ['remove', 'ratio', 'size', 'kvBytes', 'speedup'] as const
type BudgetName = (typeof budgets)[number]

/** Options with which the tiny models can lose something and a search ends in a moment. */
function given(name: string, budget: BudgetName): MethodOptions {
  if (name === 'shortened-llama') return { plus: false }
  if (name !== 'policy-gradient') return {}
  const whole = budget === 'remove' ? { units: 'channels+heads+blocks', budgets: 'one' } : {}
  return { ...whole, steps: 2, interval: 1, 'batch-rows': 2 }
}

function rowsFor({ architecture }: Model): TokenRows {
  const ids = (count: number, from: number) => Int32Array.from({ length: count }, (_, i) => 4 + ((from + 7 * i) % 40))
  const rows = { ids: ids(12, 1), rows: 2, rowLength: 6 }
  return architecture.family === 'encoderDecoder'
    ? { ...rows, decoder: { ids: ids(8, 3), rows: 2, rowLength: 4 } }
    : rows
}

describe.each(fixtures)('%s', (name) => {
  let model: Model
  let engine: Engine
  let rows: TokenRows
  let parts: PartSeconds
  /** A second for each parameter of a block. */
  const timer: Timer = async (plans) =>
    plans.map((plan) => {
      const gone = (id: Model['blocks'][number]) =>
        plan.blocks.includes(id.id) ? 1 : (plan.units[id.id]?.length ?? 0) / id.units
      return Float64Array.of(1, ...model.blocks.map((block) => block.parameters * (1 - gone(block))))
    })
  beforeAll(async () => {
    const folder = resolve(import.meta.dirname, '../fixtures', name)
    model = describeModel(name, folder, await openFolder(folder))
    engine = openLocalEngine(model, { threads: 1 })
    rows = rowsFor(model)
    const journal = openJournal(join(mkdtempSync(join(tmpdir(), 'matrix-')), 'journal.jsonl'), {})
    parts = await measureParts(model, timer, journal, { narrow: true })
    journal.close()
  })
  afterAll(async () => {
    await engine?.close()
    await model?.weights.close()
  })

  /** Half of what removing everything in `most` gives. */
  function halfOf(budget: BudgetName, most: PruningPlan): Budget {
    const middle = (of: (plan: PruningPlan) => number) => (of(emptyPlan) + of(most)) / 2
    const asked: Record<BudgetName, () => Budget> = {
      remove: () => ({ remove: Math.ceil(most.blocks.length / 2) }),
      ratio: () => ({ ratio: middle((plan) => removedParameters(model, plan)) / model.parameters }),
      size: () => ({ size: middle((plan) => exportedBytes(model, plan)) / 1e6 }),
      kvBytes: () => ({ kvBytes: Math.floor(middle((plan) => cacheBytesPerToken(model, plan))) }),
      speedup: () => ({ speedup: 1 / middle((plan) => 1 / foretoldSpeedup(model, parts, plan)) }),
    }
    return asked[budget]()
  }

  async function run(method: Method, options: MethodOptions, budget: Budget, most: PruningPlan, signal?: AbortSignal) {
    const folder = mkdtempSync(join(tmpdir(), 'matrix-'))
    const progress: Progress[] = []
    const objective = distanceObjective(engine, rows, 'kl')
    const file = await prune({
      model,
      engine,
      rows,
      objective: () => objective,
      inputs: inputsOf(model, method),
      budget,
      ...('speedup' in budget && { timing: { timer, rows: 2, rowLength: 6, narrow: true, most } }),
      directory: folder,
      endsItself: method.endsItself,
      signal,
      onProgress: (event) => progress.push(event),
      method: ({ engine: journaled, objective: asked, followed, isReached }) =>
        method.run(
          {
            model,
            objective: asked,
            pooled: followed({ ...objective, measure: 'pooled' }),
            distance: (measure) => followed(distanceObjective(journaled, rows, measure)),
            engine: journaled,
            rows,
            kinds,
            start: emptyPlan,
            keep: new Set(),
            moves: singleBlocks(model, kinds),
            seed: 1,
            isReached,
            signal,
          },
          options,
        ),
    })
    return { file, progress, folder }
  }

  const cases = methods
    // what is given by hand has no budget
    .filter(({ removesAll }) => !removesAll)
    .flatMap((method) => budgets.map((budget) => [method.name, budget, method] as const))
    // FLAP removes no whole blocks: asked to count them it is refused, see test/program
    .filter(([method, budget]) => !(method === 'flap' && budget === 'remove'))
  it.for(cases)('%s stops at a budget of %s', async ([, budgetName, method], { skip }) => {
    const options = optionsOf(method, given(method.name, budgetName))
    const most: PruningPlan = {
      blocks: method.removable({ model, kinds, start: emptyPlan, keep: new Set() }, options),
      units: {},
    }
    if (most.blocks.length === 0) {
      expect([name, method.name]).toEqual(['tiny-encoders/bart-uneven', 'sleb'])
      skip('SLEB keeps the first and the last layer, and this model has no other')
    }
    const budget = halfOf(budgetName, most)
    const { file, progress, folder } = await run(method, options, budget, most)
    expect(file.complete).toBe(true)
    expect(await readPlanFile(join(folder, 'plan.json'))).toEqual(JSON.parse(JSON.stringify(file)))
    expect(isReached(model, file.plan, budget, parts)).toBe(true)
    expect(progress.filter(({ type }) => type === 'step')).toHaveLength(file.steps.length)
    expect(file.latency === undefined).toBe(budgetName !== 'speedup')
    if (method.endsItself) return
    // one step less does not reach it
    const before: PruningPlan = { blocks: file.steps.slice(0, -1).flatMap(({ removed }) => removed), units: {} }
    expect(isReached(model, before, budget, parts)).toBe(false)
  })
})

function inputsOf(model: Model, method: Method) {
  return {
    model: { id: model.id, modelType: 'tiny', sha256: '0'.repeat(64), parameters: model.parameters },
    method: method.name,
    options: {},
    calibration: {
      source: 'ids',
      rows: 2,
      rowLength: 6,
      tokens: 12,
      bos: 'none' as const,
      sha256: '0'.repeat(64),
      fingerprints: [],
    },
    seed: 1,
    versions: {},
  }
}
