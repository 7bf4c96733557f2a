import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { openLocalEngine } from '../../src/engine/localEngine.ts'
import type { Engine } from '../../src/measures/measurement.ts'
import type { MethodOptions } from '../../src/methods/options.ts'
import { methods, optionsOf } from '../../src/methods/registry.ts'
import { applyPlan } from '../../src/model/applyPlan.ts'
import { describeModel } from '../../src/model/describe.ts'
import { openFolder } from '../../src/model/folder.ts'
import type { Model } from '../../src/model/model.ts'
import { emptyPlan, removedParameters } from '../../src/model/plan.ts'
import { hiddenDistanceObjective } from '../../src/objectives/hiddenDistance.ts'
import { distanceObjective } from '../../src/objectives/outputDistance.ts'
import { singleBlocks } from '../../src/search/candidates.ts'
import type { BlockId, PruningPlan, TokenRows } from '../../src/types.ts'

const decoders = 'bloom falcon gemma gemma2 gemma3 gpt2 gpt_neox llama mistral opt phi phi3 qwen2 qwen3'.split(' ')
const others = 'bart bert bert-cls distilbert flan-t5-gated marian roberta t5'.split(' ')
const fixtures = [
  ...[...decoders, ...others].map((name) => `tiny-random/${name}`),
  ...['tiny-encoders/bert-headless', 'tiny-variants/baichuan-7b'],
]

/** Options that let the tiny models lose something, and end a search in a moment. */
const given: Readonly<Record<string, MethodOptions>> = {
  'shortened-llama': { plus: false },
  'policy-gradient': { steps: 2, interval: 1 },
}

const kinds = ['attention', 'crossAttention', 'mlp'] as const

function rowsFor({ architecture }: Model): TokenRows {
  const ids = (count: number, from: number) => Int32Array.from({ length: count }, (_, i) => 4 + ((from + 7 * i) % 40))
  const rows = { ids: ids(12, 1), rows: 2, rowLength: 6 }
  if (architecture.family === 'decoder') return rows
  const padded = { ...rows, lengths: Int32Array.of(6, 4) }
  return architecture.family === 'encoder' ? padded : { ...padded, decoder: { ids: ids(8, 3), rows: 2, rowLength: 4 } }
}

describe.each(fixtures)('%s', (path) => {
  let model: Model
  let engine: Engine
  let rows: TokenRows
  beforeAll(async () => {
    const folder = fileURLToPath(new URL(`../fixtures/${path}`, import.meta.url))
    model = describeModel(path, folder, await openFolder(folder))
    engine = openLocalEngine(model, { threads: 1 })
    rows = rowsFor(model)
  })
  afterAll(async () => {
    await engine?.close()
    await model?.weights.close()
  })

  it.for(methods.map((method) => [method.name, method] as const))(
    'is pruned by %s',
    async ([name, method], { skip }) => {
      const hasHead = model.architecture.head(model.config, model.outer) !== undefined
      if (name === 'finercut' && !hasHead) skip('FinerCut compares predictions, and this model has no head')
      const objective = hasHead ? distanceObjective(engine, rows, 'kl') : hiddenDistanceObjective(engine, rows)
      const options = optionsOf(method, name === 'given' ? { removeBlocks: [model.blocks[0]!.id] } : given[name])
      const isReached = (plan: PruningPlan) => removedParameters(model, plan) >= 0.02 * model.parameters
      const scope = { model, kinds, start: emptyPlan, keep: new Set<BlockId>() }
      const moves = singleBlocks(model, kinds)
      const context = {
        ...scope,
        moves,
        objective,
        pooled: objective,
        engine,
        rows,
        seed: 1,
        isReached,
        signal: undefined,
      }
      let plan = emptyPlan
      let steps = 0
      for await (const step of method.run(
        { ...context, distance: (measure) => distanceObjective(engine, rows, measure) },
        options,
      )) {
        expect(Number.isFinite(step.loss)).toBe(true)
        plan = step.plan
        steps += 1
        if (steps === 2) break
      }
      const removable = method.removable(scope, options)
      if (removable.length === 0) {
        expect(steps).toBe(0)
        skip(`${name} keeps every layer of so small a model, and removed none`)
      }
      expect(steps).toBeGreaterThan(0)
      expect(plan.blocks.every((id) => removable.includes(id))).toBe(true)
      expect(applyPlan(model, plan).parameters).toBe(model.parameters - removedParameters(model, plan))
      expect(removedParameters(model, plan)).toBeGreaterThan(0)
    },
  )
})
