import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { gzipSync } from 'node:zlib'
import { parquetWriteBuffer } from 'hyparquet-writer'
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { readTexts } from '../../src/data/textSource.ts'
import { CalibrationError } from '../../src/errors.ts'
import { commitOf, type FakeHub, startFakeHub } from './fakeHub.ts'

let folder: string

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'texts-'))
})

afterEach(async () => {
  await rm(folder, { recursive: true, force: true })
})

async function write(name: string, content: string | Uint8Array): Promise<string> {
  const path = join(folder, name)
  await writeFile(path, content)
  return path
}

function parquet(columns: Readonly<Record<string, readonly unknown[]>>, rowGroupSize = 2): Uint8Array {
  const columnData = Object.entries(columns).map(([name, data]) => ({ name, data: [...data] }))
  return new Uint8Array(parquetWriteBuffer({ columnData, rowGroupSize }))
}

describe('readTexts from the package', () => {
  test('reads the embedded corpus, two splits', async () => {
    const train = await readTexts('embedded')
    expect(train.name).toBe('brown:train')
    expect(train.texts.length).toBeGreaterThan(8000)
    expect(train.texts[0]).toMatch(/^The Fulton County Grand Jury said Friday/)
    const heldOut = await readTexts('embedded:test')
    expect(heldOut.name).toBe('brown:test')
    expect(train.texts).not.toContain(heldOut.texts[0])
  })
})

describe('readTexts from a file', () => {
  test('cuts plain text at empty lines, so that joining them gives the file again', async () => {
    const content = 'one\nline\n\n\ntwo  \n\nthree\n'
    const { name, texts } = await readTexts(await write('a.txt', content))
    expect(name).toBe(join(folder, 'a.txt'))
    expect(texts).toEqual(['one\nline', '\ntwo  ', 'three\n'])
    expect(texts.join('\n\n')).toBe(content)
    expect((await readTexts(await write('wiki.test.raw', '\ufeffone'))).texts).toEqual(['one'])
  })

  test('reads JSON Lines and JSON, column text unless another is named', async () => {
    const rows = [
      { text: 'a', title: 'A' },
      { text: '', title: 'B' },
    ]
    const lines = await write('a.jsonl', `${rows.map((row) => JSON.stringify(row)).join('\r\n')}\n\n`)
    expect((await readTexts(lines)).texts).toEqual(['a', ''])
    expect((await readTexts(lines, { column: 'title' })).texts).toEqual(['A', 'B'])
    expect((await readTexts(await write('a.json', JSON.stringify(rows)))).texts).toEqual(['a', ''])
  })

  test('unpacks .gz', async () => {
    expect((await readTexts(await write('a.jsonl.gz', gzipSync('{"text": "a"}\n')))).texts).toEqual(['a'])
    expect((await readTexts(await write('a.txt.gz', gzipSync('a\n\nb')))).texts).toEqual(['a', 'b'])
    const cut = await write('cut.txt.gz', gzipSync('a text that is long enough').subarray(0, 20))
    await expect(readTexts(cut)).rejects.toThrow(/cut.txt.gz: cannot be unpacked .* is the file complete/)
  })

  test("puts Alpaca's rows into Alpaca's prompt, as its own text column has them", async () => {
    const rows = [
      { instruction: 'Add.', input: '1 2', output: '3' },
      { instruction: 'Greet.', input: '', output: 'Hello' },
    ]
    const expected = [
      'Below is an instruction that describes a task, paired with an input that provides further context. Write a response that appropriately completes the request.\n\n### Instruction:\nAdd.\n\n### Input:\n1 2\n\n### Response:\n3',
      'Below is an instruction that describes a task. Write a response that appropriately completes the request.\n\n### Instruction:\nGreet.\n\n### Response:\nHello',
    ]
    const path = await write('alpaca.json', JSON.stringify(rows))
    expect((await readTexts(path)).texts).toEqual(expected)
    expect((await readTexts(path, { column: 'output' })).texts).toEqual(['3', 'Hello'])
    await expect(readTexts(path, { column: 'text' })).rejects.toThrow('no column "text", its columns are instruction,')
    const columns = { instruction: ['Add.', 'Greet.'], input: ['1 2', ''], output: ['3', 'Hello'] }
    expect((await readTexts(await write('alpaca.parquet', parquet(columns)))).texts).toEqual(expected)
  })

  test('reads one column of a parquet file, all row groups in order, absent values as empty texts', async () => {
    const path = await write('a.parquet', parquet({ id: [1, 2, 3, 4, 5], text: ['a', 'bé', null, 'd', 'e'] }))
    expect((await readTexts(path)).texts).toEqual(['a', 'bé', '', 'd', 'e'])
    await expect(readTexts(path, { column: 'id' })).rejects.toThrow(/row 0 has no string in "id"/)
    await expect(readTexts(path, { column: 'body' })).rejects.toThrow(
      `${path}: has no column "body", its columns are id, text; name one of them with --column`,
    )
  })

  test('refuses a damaged parquet file', async () => {
    const bytes = parquet({ text: ['a', 'b', 'c'] })
    for (const damaged of [bytes.subarray(0, 20), bytes.subarray(0, bytes.length - 3), new Uint8Array(100)]) {
      await expect(readTexts(await write('bad.parquet', damaged))).rejects.toThrow(
        /bad.parquet: cannot be read as parquet/,
      )
    }
  })

  test('names the line or the entry that is wrong', async () => {
    const errorOf = async (name: string, content: string, column?: string) =>
      readTexts(await write(name, content), column === undefined ? {} : { column }).catch(
        (error: Error) => error.message,
      )
    expect(await errorOf('a.jsonl', '{"text": "a"}\n\n{"text": 5}\n')).toMatch(
      /a.jsonl: line 3 has no string in "text"/,
    )
    expect(await errorOf('a.jsonl', '{"text": "a"}\n{"other": "b"}')).toMatch(/line 2 has no "text"/)
    expect(await errorOf('a.jsonl', '{"text": "a"}\n{"text')).toMatch(/line 2 is not JSON/)
    expect(await errorOf('a.jsonl', '["a"]')).toMatch(/line 1 is a list, expected an object/)
    expect(await errorOf('a.jsonl', '{"body": "a", "id": 1}')).toMatch(/has no column "text", its columns are body, id/)
    expect(await errorOf('a.json', '{"text": "a"}')).toMatch(
      /holds an object, expected a list of objects; one object a line is .jsonl/,
    )
    expect(await errorOf('a.json', '[{"text": "a"}, null]')).toMatch(/entry 1 is null/)
    expect(await errorOf('a.txt', 'a', 'text')).toMatch(/is read as plain text, which has no column "text"/)
  })

  test('refuses a source without text, bytes that are no text, and a folder', async () => {
    await expect(readTexts(await write('empty.txt', ''))).rejects.toThrow('empty.txt: has no text in its 0 entries')
    await expect(readTexts(await write('blank.jsonl', '{"text": " "}'))).rejects.toThrow('has no text in its 1 entries')
    await expect(readTexts(await write('a.bin', Uint8Array.of(0xff, 0xfe, 0x41)))).rejects.toThrow('is not UTF-8')
    await expect(readTexts(folder)).rejects.toThrow('is a folder, expected a file')
  })
})

describe('readTexts from the hub', () => {
  const converted = commitOf('converted')
  const main = commitOf('main')
  let hub: FakeHub

  beforeEach(async () => {
    hub = await startFakeHub({
      'datasets/Salesforce/wikitext': {
        revisions: { main, 'refs/convert/parquet': converted },
        files: {
          'wikitext-103-raw-v1/test/0000.parquet': parquet({ text: ['other'] }),
          'wikitext-2-raw-v1/test/0000.parquet': parquet({ text: ['', ' = A = \n'] }),
          'wikitext-2-raw-v1/test/0001.parquet': parquet({ text: ['more'] }),
          'wikitext-2-raw-v1/train/0000.parquet': parquet({ text: ['train'] }),
        },
      },
      'datasets/tatsu-lab/alpaca': {
        revisions: { 'refs/convert/parquet': converted },
        files: {
          'default/train/0000.parquet': parquet({ instruction: ['i'], input: ['n'], output: ['o'], text: ['whole'] }),
        },
      },
      'datasets/allenai/c4': {
        revisions: { 'refs/convert/parquet': converted },
        files: {
          'en/partial-train/0000.parquet': parquet({ text: ['much'] }),
          'en/partial-validation/0000.parquet': parquet({ text: ['c'], url: ['u'] }),
        },
      },
      'datasets/ptb-text-only/ptb_text_only': {
        revisions: { 'refs/convert/parquet': converted },
        files: { 'penn_treebank/test/0000.parquet': parquet({ sentence: ['no it was n’t black monday'] }) },
      },
      'datasets/owner/own': {
        revisions: { main },
        files: {
          'README.md': 'no conversion',
          'data/test-00000-of-00002.parquet': parquet({ text: ['a'] }),
          'data/test-00001-of-00002.parquet': parquet({ text: ['b'] }),
          'data/train-00000-of-00001-0123456789abcdef.parquet': parquet({ text: ['c'] }),
          'extra/test/0000.parquet': parquet({ text: ['d'] }),
        },
      },
      'datasets/owner/script': { revisions: { main }, files: { 'script.py': 'never run' } },
    })
    vi.stubEnv('HF_ENDPOINT', hub.url)
    vi.stubEnv('HF_HUB_CACHE', join(folder, 'hub'))
    vi.stubEnv('HF_HUB_OFFLINE', '')
    vi.stubEnv('HF_TOKEN', '')
    vi.stubEnv('HF_TOKEN_PATH', join(folder, 'token'))
  })

  afterEach(async () => {
    vi.unstubAllEnvs()
    await hub.close()
  })

  test('reads the data sets of the papers by their short names, and only the split', async () => {
    expect(await readTexts('wikitext2:test')).toEqual({ name: 'wikitext2:test', texts: ['', ' = A = \n', 'more'] })
    expect(await readTexts('alpaca')).toEqual({ name: 'alpaca:train', texts: ['whole'] })
    expect(await readTexts('c4')).toEqual({ name: 'c4:validation', texts: ['c'] })
    expect((await readTexts('ptb:test')).texts).toEqual(['no it was n’t black monday'])
    const resolved = hub.requests.filter(({ line }) => line.includes('/resolve/')).map(({ line }) => line)
    expect(resolved.some((line) => line.includes('train') && !line.includes('default'))).toBe(false)
  })

  test('reads any data set by its id, from the conversion or from its own parquet files', async () => {
    expect((await readTexts('Salesforce/wikitext:wikitext-2-raw-v1:train')).texts).toEqual(['train'])
    expect((await readTexts('tatsu-lab/alpaca:train', { column: 'output' })).texts).toEqual(['o'])
    expect(await readTexts('owner/own:test')).toEqual({ name: 'owner/own:test', texts: ['a', 'b'] })
    expect((await readTexts('owner/own:train')).texts).toEqual(['c'])
    expect((await readTexts('owner/own:extra:test')).texts).toEqual(['d'])
  })

  test('keeps what it downloaded, where Python would', async () => {
    await readTexts('wikitext2:test')
    const root = join(folder, 'hub', 'datasets--Salesforce--wikitext')
    expect(await readFile(join(root, 'refs', 'refs', 'convert', 'parquet'), 'utf8')).toBe(converted)
    vi.stubEnv('HF_HUB_OFFLINE', '1')
    hub.requests.length = 0
    expect((await readTexts('wikitext2:test')).texts).toHaveLength(3)
    expect(hub.requests).toEqual([])
    await expect(readTexts('wikitext2:train')).rejects.toThrow(
      /HF_HUB_OFFLINE is set, and the cache .* or name a local file/,
    )
    await expect(readTexts('alpaca')).rejects.toThrow(CalibrationError)
  })

  test('says which configurations and splits there are', async () => {
    await expect(readTexts('Salesforce/wikitext:test')).rejects.toThrow(
      'Salesforce/wikitext: has several configurations, wikitext-103-raw-v1, wikitext-2-raw-v1; name one as Salesforce/wikitext:wikitext-103-raw-v1:split',
    )
    await expect(readTexts('Salesforce/wikitext:wikitext-3:test')).rejects.toThrow('has no configuration "wikitext-3"')
    await expect(readTexts('tatsu-lab/alpaca:test')).rejects.toThrow('has no split "test", its splits are train')
    await expect(readTexts('owner/own:dev')).rejects.toThrow('has no split "dev", its splits are test, train')
    await expect(readTexts('owner/script:train')).rejects.toThrow(
      'owner/script: has no parquet files, neither its own nor on refs/convert/parquet',
    )
    await expect(readTexts('wikitext2')).rejects.toThrow(
      'wikitext2: names no split, expected wikitext2:train, wikitext2:validation, wikitext2:test',
    )
    await expect(readTexts('alpaca:test')).rejects.toThrow('has no split "test", expected alpaca:train')
  })

  test('says what a source that is nowhere could be', async () => {
    await expect(readTexts('wikitext')).rejects.toThrow('or owner/name:split; did you mean wikitext2?')
    await expect(readTexts('Alpacca:train')).rejects.toThrow('did you mean alpaca?')
    await expect(readTexts('./missing.txt')).rejects.toThrow(
      './missing.txt: is no file here and no known data set, expected a file, embedded, wikitext2, alpaca, c4, ptb, or owner/name:split',
    )
    await expect(readTexts('data/missing.jsonl')).rejects.toThrow('no known data set')
    await expect(readTexts('owner/own')).rejects.toThrow('name its split as owner/own:train')
    await expect(readTexts('toString')).rejects.toThrow('no known data set')
    expect(hub.requests).toEqual([])
  })

  test('says that it needs access, or a network', async () => {
    await expect(readTexts('owner/none:train')).rejects.toThrow('owner/none: the hub refuses access (401)')
    vi.stubEnv('HF_ENDPOINT', 'http://127.0.0.1:9')
    await expect(readTexts('wikitext2:test')).rejects.toThrow(
      /Salesforce\/wikitext: .* cannot be reached .* check the network/,
    )
  })
})
