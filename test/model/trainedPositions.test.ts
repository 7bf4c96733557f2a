import { expect, it } from 'vitest'
import { trainedPositions } from '../../src/model/trainedPositions.ts'
import type { ModelConfig } from '../../src/types.ts'
import { openFixture } from './openFixture.ts'

async function positionsOf(fixture: string, changes: ModelConfig = {}): Promise<number | undefined> {
  const { model } = await openFixture(fixture)
  await model.weights.close()
  return trainedPositions({ ...model, config: { ...model.config, ...changes } })
}

it.each<[string, string, number | undefined, ModelConfig]>([
  ['rotary positions', 'tiny-random/llama', 128, { max_position_embeddings: 128 }],
  ['sines', 'tiny-random/marian', 512, { max_position_embeddings: 512 }],
  ['YaRN that config.json counts already', 'tiny-variants/qwen3-yarn', 64, {}],
  ['YaRN that it does not', 'tiny-variants/qwen3-yarn', 64, { max_position_embeddings: 16 }],
  ['dynamic scaling', 'tiny-variants/mistral-dynamic', undefined, {}],
  ['ALiBi', 'tiny-random/bloom', undefined, { max_position_embeddings: 128 }],
  ["T5's distances", 'tiny-random/t5', undefined, { max_position_embeddings: 128 }],
  ['a table of positions', 'tiny-random/gpt2', undefined, {}],
  ['a config that says nothing', 'tiny-random/llama', undefined, { max_position_embeddings: undefined }],
])('with %s, %s was trained on rows of up to %s tokens', async (_, fixture, tokens, changes) => {
  expect(await positionsOf(fixture, changes)).toBe(tokens)
})
