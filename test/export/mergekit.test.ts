import { expect, test } from 'vitest'
import { PlanError, UnsupportedModelError } from '../../src/errors.ts'
import { mergekitYaml } from '../../src/export/mergekit.ts'
import { openModel } from '../../src/model/load.ts'
import { encodeBias } from '../../src/model/outputBias.ts'
import { emptyPlan } from '../../src/model/plan.ts'
import type { PruningPlan } from '../../src/types.ts'

const model = await openModel('brown-llama', `${import.meta.dirname}/../../models/brown-llama`)

test('is the ranges of the layers that stay', () => {
  const plan = {
    blocks: [
      'decoder.4.mlp',
      'decoder.4.attention',
      'decoder.11.attention',
      'decoder.11.mlp',
      'decoder.5.attention',
      'decoder.5.mlp',
    ],
    units: {},
  } as const
  expect(mergekitYaml(model, plan, 'someone/brown: "llama"')).toBe(`merge_method: passthrough
dtype: bfloat16
slices:
  - sources:
      - model: "someone/brown: \\"llama\\""
        layer_range: [0, 4]
  - sources:
      - model: "someone/brown: \\"llama\\""
        layer_range: [6, 11]
`)
})

test('is refused for branches, repacked layers, widths and nothing at all', () => {
  const refused = [
    { blocks: ['decoder.4.mlp'], units: {} },
    { blocks: ['decoder.4.mlp', 'decoder.5.attention'], units: {} },
    { blocks: [], units: { 'decoder.4.mlp': [1] } },
    { blocks: [], units: {}, outputBiases: { 'decoder.4.mlp': encodeBias(new Float32Array(128).fill(1)) } },
    { blocks: model.blocks.map(({ id }) => id), units: {} },
  ] as const
  for (const plan of refused) expect(() => mergekitYaml(model, plan)).toThrow(PlanError)
})

test('is refused where a layer would take a number whose window or scale is another', async () => {
  const layers = (...numbers: number[]): PruningPlan => ({
    blocks: numbers.flatMap((layer) => [`decoder.${layer}.attention` as const, `decoder.${layer}.mlp` as const]),
    units: {},
  })
  // every other layer of Gemma 2 sees a window, and scales of this GPT-2 go by the number of the layer
  const gemma2 = await openModel('gemma2', `${import.meta.dirname}/../fixtures/tiny-random/gemma2`)
  expect(() => mergekitYaml(gemma2, layers(0))).toThrow('layer 1 becomes layer 0, which has another attention')
  expect(mergekitYaml(gemma2, layers(0, 1))).toContain('layer_range: [2, ')
  const stored = await openModel('gpt2', `${import.meta.dirname}/../fixtures/tiny-random/gpt2`)
  const gpt2 = { ...stored, config: { ...stored.config, scale_attn_by_inverse_layer_idx: true } }
  expect(() => mergekitYaml(gpt2, layers(1))).toThrow(PlanError)
  expect(mergekitYaml(stored, layers(1))).toContain('layer_range: [0, 1]')
  await Promise.all([gemma2.weights.close(), stored.weights.close()])
})

test('is refused for a GGUF file, which mergekit does not read', async () => {
  const gguf = await openModel('llama', `${import.meta.dirname}/../fixtures/gguf/llama.gguf`)
  expect(() => mergekitYaml(gguf, emptyPlan)).toThrow(UnsupportedModelError)
  await gguf.weights.close()
})
