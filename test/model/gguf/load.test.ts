import { copyFile, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { expect, it } from 'vitest'
import { loadModel, openModel } from '../../../src/model/load.ts'
import { RawGguf } from '../../format/gguf/rawGguf.ts'
import { scratchFolder } from '../../format/safetensors/rawFile.ts'

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

it('takes a name in capitals for what it is', async () => {
  const path = join(await scratchFolder(), 'LLAMA.GGUF')
  await copyFile(fileURLToPath(new URL('../../fixtures/gguf/llama.gguf', import.meta.url)), path)
  const model = await loadModel(path)
  await model.weights.close()
  expect(model.config['model_type']).toBe('llama')
})

it('names the file where its metadata makes a config.json that cannot be', async () => {
  const bytes = await readFile(fileURLToPath(new URL('../../fixtures/gguf/qwen2.gguf', import.meta.url)))
  const key = 'qwen2.embedding_length'
  // a key is followed by the type of its value, then the value
  bytes.writeUInt32LE(2 ** 32 - 1, bytes.indexOf(key) + key.length + 4)
  const path = await new RawGguf().raw(...bytes).write()
  await expect(openModel('huge', path)).rejects.toThrow(
    `${path}: its metadata makes a config.json: "hidden_size" is 4294967295, expected a whole number from 1 to 2^31`,
  )
})
