import { readFileSync } from 'node:fs'
import { resolve } from 'node:path'
import { describe, expect, it } from 'vitest'
import { openEngine } from '../../src/engine/threadEngine.ts'
import { blockPruner } from '../../src/methods/blockPruner.ts'
import { loadModel } from '../../src/model/load.ts'
import { perplexityObjective } from '../../src/objectives/perplexity.ts'
import type { BlockKind, LossArithmetic, RowObjective } from '../../src/types.ts'
import { expectError } from '../measured.ts'
import { referenceOf, smollm2 } from './smollm2.ts'

const kinds = { mha: 'attention', mlp: 'mlp' } as const
type Unit = readonly ['mha' | 'mlp', number]
const idOf = ([kind, layer]: Unit) => `decoder.${layer}.${kinds[kind]}`

/** Runs `steps` steps and keeps the perplexity of every candidate. */
async function search(
  path: string,
  rows: { ids: number[]; rows: number; rowLength: number },
  steps: number,
  of: readonly BlockKind[],
  arithmetic: LossArithmetic,
) {
  const model = await loadModel(path)
  const engine = openEngine(model)
  try {
    const ids = Int32Array.from(rows.ids.slice(0, rows.rows * rows.rowLength))
    const inner = perplexityObjective(engine, { ...rows, ids }, { arithmetic })
    const candidates: Map<string, number>[] = []
    const objective: RowObjective = {
      ...inner,
      async evaluate(plans) {
        const losses = await inner.evaluate(plans)
        candidates.push(new Map(plans.map((plan, i) => [plan.blocks.at(-1)!, Math.exp(losses[i]!)])))
        return losses
      },
    }
    const order: string[] = []
    const best: number[] = []
    for await (const step of blockPruner(model, objective, { kinds: of })) {
      order.push(step.removed[0]!)
      best.push(Math.exp(step.loss))
      if (order.length === steps) break
    }
    return { order, best, candidates }
  } finally {
    await engine.close()
    await model.weights.close()
  }
}

function worst(pairs: readonly (readonly [number, number])[]): number {
  return Math.max(...pairs.map(([got, expected]) => Math.abs(got / expected - 1)))
}

const gguf = await smollm2()

describe.skipIf(gguf === undefined)('BlockPruner on SmolLM2-135M, from its GGUF, 2 x 32 tokens', () => {
  it.for([
    ['mix_20_2x32.json', 20, ['attention', 'mlp']],
    ['mha_8_2x32.json', 8, ['attention']],
    ['mlp_8_2x32.json', 8, ['mlp']],
  ] as const)('removes what the authors’ code removes, in its order: %s', async ([name, steps, of]) => {
    const reference = await referenceOf(name)
    const { ids } = await referenceOf('tokens.json')
    // the sums of the authors' code; the default is nearer to the truth than they are
    const found = await search(gguf!, { ids, rows: 2, rowLength: 32 }, steps, of, 'released')
    expect(found.order).toEqual(reference.order.map(idOf))
    const pairs = found.candidates
      .slice(0, 3)
      .flatMap((step, k) =>
        (reference.steps[k].candidates as { cand: Unit; ppl: number }[]).map(
          ({ cand, ppl }) => [step.get(idOf(cand))!, ppl] as const,
        ),
      )
    expect(pairs.length).toBeGreaterThan(60)
    process.stderr.write(`${name}: worst candidate of steps 1-3 differs by ${worst(pairs).toExponential(1)} relative\n`)
    expectError(worst(pairs), 4e-5)
  })
})

describe('BlockPruner on the embedded model, 16 x 256 tokens', () => {
  it('removes all 24 blocks in PyTorch’s order, with its perplexities', async () => {
    const read = (name: string) =>
      JSON.parse(readFileSync(resolve(import.meta.dirname, '../fixtures/reference/brown-llama', name), 'utf8'))
    const reference = read('mix_24_16x256.json')
    const found = await search(
      'embedded',
      { ids: read('tokens.json').ids, rows: 16, rowLength: 256 },
      24,
      ['attention', 'mlp'],
      'precise',
    )
    expect(found.order).toEqual(reference.order.map(idOf))
    const difference = worst(found.best.map((perplexity, k) => [perplexity, reference.best[k]]))
    process.stderr.write(`embedded model: worst perplexity differs by ${difference.toExponential(1)} relative\n`)
    expectError(difference, 7e-6)
  })
})
