import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, it } from 'vitest'
import { parse } from 'yaml'
import { denseCardOf } from '../../src/export/denseCard.ts'
import { exportHuggingFace } from '../../src/export/huggingface.ts'
import { loadModel } from '../../src/model/load.ts'
import { emptyPlan } from '../../src/model/plan.ts'
import { scratchFolder } from '../format/safetensors/rawFile.ts'

const cardOf = (text: string) =>
  denseCardOf({ assets: new Map([['README.md', async () => new TextEncoder().encode(text)]]) })

it('takes licence and language from the front matter of a README, whatever YAML they are in', async () => {
  const text =
    '---\r\nlicense: llama3.1\r\nlanguage:\r\n- en\r\n- "de" # too\r\nmodel-index: [{name: x}]\r\n---\r\n# Small\n'
  expect(await cardOf(text)).toEqual({ license: 'llama3.1', language: ['en', 'de'] })
  const other =
    "---\nlicense: other\nlicense_name: 'o: wn'\nlicense_link: https://example.org/l\nlanguage: {}\nlicence: no\n---"
  expect(await cardOf(other)).toMatchObject({ license: 'other', license_name: 'o: wn' })
})

it.each(['# no front matter', '---\nlicense: [broken\n---\n', '---\n- a list\n---\n', ''])(
  'takes nothing from %j',
  async (text) => expect(await cardOf(text)).toEqual({}),
)

it('stands in the card of an export, and a licence that is given goes before; the numbers of the dense card do not', async () => {
  const stored = await loadModel('embedded')
  const readme = '---\nlicense: apache-2.0\nlanguage: [en, fr]\n---\n# Perplexity 1.23\n'
  const model = { ...stored, assets: new Map([...stored.assets, ['README.md', async () => Buffer.from(readme)]]) }
  for (const [options, license] of [
    [{}, 'apache-2.0'],
    [{ license: 'mit' }, 'mit'],
  ] as const) {
    const folder = join(await scratchFolder(), 'model')
    await exportHuggingFace(model, emptyPlan, folder, options)
    const text = await readFile(join(folder, 'README.md'), 'utf8')
    expect(parse(text.split('---\n')[1]!)).toMatchObject({
      license,
      language: ['en', 'fr'],
      tags: ['pruned', 'blockpruner'],
    })
    expect(text).not.toContain('1.23')
  }
  await stored.weights.close()
})
