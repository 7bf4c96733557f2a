import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { readRows } from '../../src/run/calibrate.ts'
import { scratchFolder } from '../format/safetensors/rawFile.ts'
import { openFixture } from '../model/openFixture.ts'

test('warns of rows longer than the model was trained on, with both lengths', async () => {
  const { model } = await openFixture('tiny-variants/qwen3-yarn')
  const tokens = join(await scratchFolder(), 'ids.json')
  await writeFile(tokens, JSON.stringify({ ids: Array.from({ length: 200 }, (_, i) => i % 90) }))
  const warningsAt = async (seqlen: number) => {
    const warnings: string[] = []
    const onWarning = (message: string) => warnings.push(message)
    await readRows(model, { dataset: 'unread', tokens, seqlen, seed: 1, onWarning })
    return warnings
  }
  expect(await warningsAt(64)).toEqual([])
  expect(await warningsAt(65)).toEqual([
    'rows of 65 tokens are longer than the 64 positions that tiny-variants/qwen3-yarn was trained on: losses beyond those say little; give --seqlen 64 or less',
  ])
  await model.weights.close()
})
