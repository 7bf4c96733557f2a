import { expect, test } from 'vitest'
import { PlanError, UnsupportedModelError } from '../../src/errors.ts'
import { mergekitYaml } from '../../src/export/mergekit.ts'
import { openModel } from '../../src/model/load.ts'
import { encodeBias } from '../../src/model/outputBias.ts'
import { emptyPlan } from '../../src/model/plan.ts'

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

test('is refused for a GGUF file, which mergekit does not read', async () => {
  const gguf = await openModel('llama', `${import.meta.dirname}/../fixtures/gguf/llama.gguf`)
  expect(() => mergekitYaml(gguf, emptyPlan)).toThrow(UnsupportedModelError)
  await gguf.weights.close()
})
