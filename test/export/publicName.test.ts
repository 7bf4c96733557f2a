import { mkdtempSync, readdirSync, readFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, it } from 'vitest'
import { exportGguf } from '../../src/export/gguf.ts'
import { exportHuggingFace } from '../../src/export/huggingface.ts'
import { exportMergekit } from '../../src/export/mergekit.ts'
import { exportNemotron } from '../../src/export/nemotron.ts'
import { exportOnnx } from '../../src/export/onnx.ts'
import { publicName } from '../../src/export/publicName.ts'
import { openModel } from '../../src/model/load.ts'
import { emptyPlan } from '../../src/model/plan.ts'

it.each([
  ['/home/jane/thesis/notes.txt', 'notes.txt'],
  ['C:\\Users\\jane\\notes', 'notes'],
  ['~/models/small/', 'small'],
  ['../texts/a', 'a'],
  ['texts/chapter.jsonl', 'chapter.jsonl'],
  ['src/export', 'export'],
  ['wikitext2:test', 'wikitext2:test'],
  ['owner/name:train', 'owner/name:train'],
  ['owner/name', 'owner/name'],
])('of %s is %s', (name, shown) => {
  expect(publicName(name)).toBe(shown)
})

it('is all that any file of an export says of where a person had the model and the text', async () => {
  const place = join(import.meta.dirname, '../../models/brown-llama')
  const stored = await openModel('/home/jane/models/small', place)
  const tokens = JSON.parse(readFileSync(join(place, 'tokenizer_config.json'), 'utf8'))
  const config = { ...stored.config, _name_or_path: '/home/jane/models/small' }
  const named = { ...tokens, name_or_path: '/home/jane/models/small', tokenizer_file: '/home/jane/tokenizer.json' }
  const assets = new Map([...stored.assets, ['tokenizer_config.json', async () => Buffer.from(JSON.stringify(named))]])
  const model = { ...stored, config, assets }
  const folder = mkdtempSync(join(tmpdir(), 'public-'))
  const measured = {
    ...({ task: 'nextToken', tokens: 10, rowLength: 10, startsWithBos: false } as const),
    ...{ dataset: '/home/jane/notes.txt', dense: 1, pruned: 2 },
  }
  await exportHuggingFace(model, emptyPlan, join(folder, 'model'), { measured })
  await exportOnnx(model, emptyPlan, join(folder, 'onnx'))
  await exportNemotron(model, emptyPlan, join(folder, 'nemotron'))
  await exportGguf(model, emptyPlan, join(folder, 'model.gguf'))
  await exportMergekit(model, emptyPlan, join(folder, 'mergekit.yaml'))
  await model.weights.close()
  const files = readdirSync(folder, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile())
  expect(files.length).toBeGreaterThan(15)
  const telling = files.filter(({ name, parentPath }) => readFileSync(join(parentPath, name)).includes('jane'))
  expect(telling.map(({ name }) => name)).toEqual([])
  expect(readFileSync(join(folder, 'model', 'README.md'), 'utf8')).toContain('notes.txt')
})
