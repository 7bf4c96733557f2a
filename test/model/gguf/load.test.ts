import { fileURLToPath } from 'node:url'
import { expect, it } from 'vitest'
import { openModel } from '../../../src/model/load.ts'

it.each(['llama', 'llamaBiased', 'qwen2'])('describes the blocks of a GGUF model: %s', async (name) => {
  const path = fileURLToPath(new URL(`../../fixtures/gguf/${name}.gguf`, import.meta.url))
  const model = await openModel(name, path)
  await model.weights.close()
  expect(model.blocks.map((block) => block.id)).toEqual([
    'decoder.0.attention',
    'decoder.0.mlp',
    'decoder.1.attention',
    'decoder.1.mlp',
  ])
})
