import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parquetWriteBuffer } from 'hyparquet-writer'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { readExamples, readTexts } from '../../src/data/textSource.ts'

let folder: string
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'examples-'))
})
afterAll(() => rm(folder, { recursive: true, force: true }))

async function write(name: string, content: string | Uint8Array): Promise<string> {
  const path = join(folder, name)
  await writeFile(path, content)
  return path
}

const messages = [
  [
    { content: 'q', role: 'user' },
    { content: 'a', role: 'assistant' },
  ],
  [{ content: 'q2', role: 'user' }],
]

/** Lists of structures, as data sets of the hub hold conversations. */
function nestedParquet(column: string): Uint8Array {
  const text = { type: 'BYTE_ARRAY', converted_type: 'UTF8', repetition_type: 'OPTIONAL' } as const
  const schema = [
    { name: 'root', num_children: 1 },
    { name: column, repetition_type: 'OPTIONAL', num_children: 1, converted_type: 'LIST' },
    { name: 'list', repetition_type: 'REPEATED', num_children: 1 },
    { name: 'element', repetition_type: 'OPTIONAL', num_children: 2 },
    { name: 'content', ...text },
    { name: 'role', ...text },
  ] as const
  const columnData = [{ name: column, data: messages }]
  return new Uint8Array(parquetWriteBuffer({ schema: [...schema], columnData }))
}

const turnsOf = async (path: string, column?: string) => {
  const found = await readExamples(path, column === undefined ? {} : { column })
  return 'conversations' in found ? found.conversations.map((one) => one.messages) : found.texts
}

describe('conversations of a file', () => {
  it('are read out of JSON Lines and out of the nested columns of parquet, under any name asked for', async () => {
    const lines = (column: string) => messages.map((turns) => JSON.stringify({ id: 1, [column]: turns })).join('\n')
    expect(await turnsOf(await write('a.jsonl', lines('messages')))).toEqual(messages)
    expect(await turnsOf(await write('b.jsonl', lines('chat')), 'chat')).toEqual(messages)
    expect(await turnsOf(await write('a.parquet', nestedParquet('conversations')))).toEqual(messages)
    expect(await turnsOf(await write('b.parquet', nestedParquet('chat')), 'chat')).toEqual(messages)
  })

  it('give way to a column of texts, and are no texts themselves', async () => {
    const both = await write('both.jsonl', JSON.stringify({ messages: messages[0], text: 'plain' }))
    expect(await turnsOf(both)).toEqual(['plain'])
    expect(await turnsOf(both, 'messages')).toEqual([messages[0]])
    await expect(readTexts(await write('c.jsonl', JSON.stringify({ messages: messages[0] })))).rejects.toThrow(
      'c.jsonl: holds conversations, which a model that predicts the next token reads by its chat template; name a column of',
    )
  })

  it('of prompts and completions are texts as well, in CSV too', async () => {
    const path = await write('pairs.csv', 'prompt,completion\n"One, two,", three\n')
    expect((await readTexts(path)).texts).toEqual(['One, two, three'])
    expect(await turnsOf(path)).toEqual([
      [
        { role: 'user', content: 'One, two,' },
        { role: 'assistant', content: ' three' },
      ],
    ])
  })

  it('are named by their place where they are none', async () => {
    const path = await write('bad.jsonl', `${JSON.stringify({ messages: messages[0] })}\n{"messages": [{"role": 1}]}`)
    await expect(readExamples(path)).rejects.toThrow(
      'bad.jsonl: line 2 has no conversation in "messages", expected texts, or lists of turns {"role": …, "content": …}',
    )
  })
})
