import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { gzipSync } from 'node:zlib'
import { parquetWriteBuffer } from 'hyparquet-writer'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { readColumns } from '../../src/data/columns.ts'
import { readTexts } from '../../src/data/textSource.ts'

const rows = [
  { text: 'Fields, with "quotes"\nand a line end\n\nor two', body: 'one', label: '0' },
  { text: ' 5" pipes ', body: '', label: '1' },
  { text: 'ünïcode\ttab', body: 'three', label: '1' },
]
const names = ['text', 'body', 'label'] as const

function separated(separator: string, lineEnd: string): string {
  const quoted = (field: string) => (/^[^",\t\n]*$/.test(field) ? field : `"${field.replaceAll('"', '""')}"`)
  const lines = rows.map((row) => names.map((name) => quoted(row[name])).join(separator))
  return [names.join(separator), ...lines, ''].join(lineEnd)
}

const jsonLines = rows.map((row) => JSON.stringify(row)).join('\n')
const files: Readonly<Record<string, string | Uint8Array>> = {
  'rows.jsonl': jsonLines,
  'rows.ndjson': jsonLines,
  'rows.jsonl.gz': gzipSync(jsonLines),
  'rows.json': JSON.stringify(rows),
  'rows.csv': separated(',', '\n'),
  'rows.CSV': `\ufeff${separated(',', '\r\n')}`,
  'rows.csv.gz': gzipSync(separated(',', '\n')),
  'rows.tsv': separated('\t', '\n'),
  'rows.parquet': new Uint8Array(
    parquetWriteBuffer({ columnData: names.map((name) => ({ name, data: rows.map((row) => row[name]) })) }),
  ),
}

let folder: string
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'table-'))
  for (const [name, content] of Object.entries(files)) await writeFile(join(folder, name), content)
})
afterAll(() => rm(folder, { recursive: true, force: true }))

describe.each(Object.keys(files))('the same rows in %s', (name) => {
  it('are the same texts, by the column asked for', async () => {
    const path = join(folder, name)
    expect((await readTexts(path)).texts).toEqual(rows.map(({ text }) => text))
    expect((await readTexts(path, { column: 'body' })).texts).toEqual(rows.map(({ body }) => body))
    await expect(readTexts(path, { column: 'title' })).rejects.toThrow(
      `${path}: has no column "title", its columns are text, body, label; name one of them with --column`,
    )
  })

  it('are the same labelled texts and pairs', async () => {
    const read = async (named: Record<`--${string}`, string>) => {
      const table = await readColumns(join(folder, name), named)
      return table.rows.map((row) => Object.values(named).map((column) => row[column]))
    }
    expect(await read({ '--column': 'text', '--label-column': 'label' })).toEqual(rows.map((r) => [r.text, r.label]))
    expect(await read({ '--column': 'text', '--target-column': 'body' })).toEqual(rows.map((r) => [r.text, r.body]))
  })
})

describe('a row that lacks what others have', () => {
  it('is named by its place in the file', async () => {
    const path = join(folder, 'uneven.jsonl')
    await writeFile(path, '{"text": "a", "label": 0}\n\n{"text": "b"}\n')
    await expect(readColumns(path, { '--column': 'text', '--label-column': 'label' })).rejects.toThrow(
      `${path}: line 3: has no column "label", its columns are text; name one of them with --label-column`,
    )
  })
})
