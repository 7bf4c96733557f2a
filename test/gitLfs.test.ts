import { mkdir, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { readTokens } from '../src/data/calibration.ts'
import { readTexts } from '../src/data/textSource.ts'
import { CalibrationError, CheckpointError } from '../src/errors.ts'
import { lfsPointerMessage } from '../src/gitLfs.ts'
import { loadModel } from '../src/model/load.ts'
import { rawFile, scratchFolder } from './format/safetensors/rawFile.ts'

const pointer = `version https://git-lfs.github.com/spec/v1\noid sha256:${'0'.repeat(64)}\nsize 134515008\n`
const weights = rawFile({ a: { dtype: 'F32', shape: [1], data_offsets: [0, 4] } }, 4)
const index = '{"weight_map": {"a": "model-00001-of-00001.safetensors"}}'

async function folderWith(files: Readonly<Record<string, string | Uint8Array>>): Promise<string> {
  const folder = await scratchFolder()
  for (const [name, content] of Object.entries(files)) {
    await mkdir(dirname(join(folder, name)), { recursive: true })
    await writeFile(join(folder, name), content)
  }
  return folder
}

describe('a pointer of Git LFS', () => {
  it.each<[string, Record<string, string | Uint8Array>]>([
    ['model.safetensors', { 'config.json': '{}', 'model.safetensors': pointer }],
    [
      'model-00001-of-00001.safetensors',
      { 'config.json': '{}', 'model.safetensors.index.json': index, 'model-00001-of-00001.safetensors': pointer },
    ],
    ['model.safetensors.index.json', { 'config.json': '{}', 'model.safetensors.index.json': pointer }],
    ['config.json', { 'config.json': pointer, 'model.safetensors': weights }],
    ['tokenizer.json', { 'config.json': '{}', 'model.safetensors': weights, 'tokenizer.json': pointer }],
    ['tokenizer.model', { 'config.json': '{}', 'model.safetensors': weights, 'tokenizer.model': pointer }],
  ])('in the place of %s is named when the model is opened', async (name, files) => {
    const folder = await folderWith(files)
    const opening = loadModel(folder)
    await expect(opening).rejects.toThrow(CheckpointError)
    await expect(opening).rejects.toThrow(
      `${join(folder, name)}: is a pointer of Git LFS to a file of 134515008 bytes, not that file; in its repository run "git lfs install" and "git lfs pull"`,
    )
  })

  it('in the place of a GGUF file is named', async () => {
    const path = join(await folderWith({ 'm.Q8_0.GGUF': pointer }), 'm.Q8_0.GGUF')
    await expect(loadModel(path)).rejects.toThrow(`${path}: is a pointer of Git LFS`)
  })

  it.each(['rows.parquet', 'rows.jsonl', 'rows.csv', 'text.txt', 'text.txt.gz'])(
    'in the place of %s is named, and is no text',
    async (name) => {
      const path = join(await folderWith({ [name]: pointer }), name)
      const reading = readTexts(path)
      await expect(reading).rejects.toThrow(CalibrationError)
      await expect(reading).rejects.toThrow(`${path}: is a pointer of Git LFS`)
    },
  )

  it('in the place of token ids is named', async () => {
    const path = join(await folderWith({ 'ids.json': pointer }), 'ids.json')
    await expect(readTokens(path, 10, { rowLength: 2 })).rejects.toThrow(`${path}: is a pointer of Git LFS`)
  })

  it('is told from a text about one', () => {
    expect(lfsPointerMessage('x', new TextEncoder().encode(`See: ${pointer}`))).toBeUndefined()
    expect(lfsPointerMessage('x', new Uint8Array())).toBeUndefined()
  })
})
