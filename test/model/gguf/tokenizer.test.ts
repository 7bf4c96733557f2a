import { readFile, writeFile } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { describe, expect, it, onTestFinished } from 'vitest'
import { CheckpointError, UnsupportedModelError } from '../../../src/errors.ts'
import type { GgufValue } from '../../../src/format/gguf/ggufValue.ts'
import { openGgufFile } from '../../../src/format/gguf/openGgufFile.ts'
import type { MetadataSource } from '../../../src/model/gguf/fields.ts'
import { preTokenizerNames } from '../../../src/model/gguf/tokenizer/preTokenizers.ts'
import { mergesFromScores } from '../../../src/model/gguf/tokenizer/sentencePiece.ts'
import { buildTokenizer, generationConfig, tokenizerConfig } from '../../../src/model/gguf/tokenizer/tokenizerJson.ts'
import { vocabularyOf } from '../../../src/model/gguf/tokenizer/vocabulary.ts'

const fixture = (name: string) => fileURLToPath(new URL(`../../fixtures/gguf/${name}`, import.meta.url))

interface Expected {
  readonly lines: readonly string[]
  readonly marked: readonly string[]
  readonly spm: { readonly sentencepiece: readonly number[][]; readonly llama: readonly number[][] }
  readonly spmBare: { readonly sentencepiece: readonly number[][]; readonly llama: readonly number[][] }
  readonly wordpiece: { readonly tokenizers: readonly number[][] }
  readonly pre: { readonly groups: readonly { readonly names: readonly string[]; readonly ids: readonly number[][] }[] }
}

const expected = JSON.parse(await readFile(fixture('tokenizers.expected.json'), 'utf8')) as Expected
const lines = [...expected.lines, ...expected.marked]

interface LibraryTokenizer {
  encode(text: string, options: { readonly add_special_tokens: boolean }): { readonly ids: number[] }
  decode(ids: number[], options?: { readonly skip_special_tokens: boolean }): string
}

const { Tokenizer } = createRequire(import.meta.url)('@huggingface/tokenizers') as {
  readonly Tokenizer: new (json: object, config: object) => LibraryTokenizer
}

/** The metadata of a fixture, with entries replaced or, by undefined, left out. */
async function metadataOf(name: string, changes: Readonly<Record<string, GgufValue | undefined>> = {}) {
  const file = await openGgufFile(fixture(`${name}.gguf`))
  onTestFinished(() => file.close())
  const metadata = new Map(file.metadata)
  for (const [key, value] of Object.entries(changes)) {
    if (value) metadata.set(key, { value, position: 0, byteLength: 0 })
    else metadata.delete(key)
  }
  return { path: `${name}.gguf`, metadata } satisfies MetadataSource
}

/** The rebuilt tokenizer in the library that runs it, through JSON as it would be in a file. */
async function rebuilt(source: MetadataSource, name: string): Promise<LibraryTokenizer> {
  const built = buildTokenizer(source)
  const json = JSON.stringify(built.json)
  // for check_tokenizers.py
  const folder = process.env['GGUF_TOKENIZERS']
  if (folder) await writeFile(join(folder, `${name}.json`), json)
  return new Tokenizer(JSON.parse(json), JSON.parse(JSON.stringify(tokenizerConfig(source, built))))
}

const text = (value: string): GgufValue => ({ type: 'string', value })
const flag = (value: boolean): GgufValue => ({ type: 'bool', value })
const number = (value: number): GgufValue => ({ type: 'uint32', value })

/**
 * llama.cpp reads \p{M} out of these expressions (its comment says so), and combining marks then leave their letters. The
 * models' own tokenizer.json keeps them together, as we do.
 */
const marksApart = new Set(['tekken', 'gpt-4o', 'llama4', 'kanana2'])

describe('byte-level BPE', () => {
  const idsByName = new Map(expected.pre.groups.flatMap(({ names, ids }) => names.map((name) => [name, ids])))

  it('has ids of llama.cpp for every pre-tokenizer it knows', () => {
    expect([...idsByName.keys()].sort()).toEqual([...preTokenizerNames].sort())
  })

  it.each(preTokenizerNames)('gives the ids of llama.cpp with the pre-tokenizer %s', async (name) => {
    const tokenizer = await rebuilt(await metadataOf('bpe', { 'tokenizer.ggml.pre': text(name) }), name)
    for (const [i, line] of lines.entries()) {
      if (marksApart.has(name) && /\p{Script=Devanagari}/u.test(line)) continue
      const { ids } = tokenizer.encode(line, { add_special_tokens: false })
      expect(ids, line).toEqual(idsByName.get(name)?.[i])
      if (ids.length > 0) expect(tokenizer.decode(ids)).toBe(line)
    }
  })

  it('composes characters first where Qwen does, and only there', async () => {
    const e = 'cafe\u0301'
    const ids = async (name: string, line: string) =>
      (await rebuilt(await metadataOf('bpe', { 'tokenizer.ggml.pre': text(name) }), name)).encode(line, {
        add_special_tokens: false,
      }).ids
    expect(await ids('qwen2', e)).toEqual(await ids('qwen2', 'café'))
    expect(await ids('stablelm2', e)).not.toEqual(await ids('stablelm2', 'café'))
  })

  it('reads a file without a pre-tokenizer as llama.cpp does, with the default', async () => {
    const bare = buildTokenizer(await metadataOf('bpe', { 'tokenizer.ggml.pre': undefined }))
    const named = buildTokenizer(await metadataOf('bpe', { 'tokenizer.ggml.pre': text('default') }))
    expect(bare.json).toEqual(named.json)
  })

  it('refuses a pre-tokenizer it does not know, listing those it does', async () => {
    const source = await metadataOf('bpe', { 'tokenizer.ggml.pre': text('constructor') })
    expect(() => buildTokenizer(source)).toThrow(UnsupportedModelError)
    expect(() => buildTokenizer(source)).toThrow(
      /has pre-tokenizer "constructor", expected one of default, gpt-2, .*tekken/,
    )
  })

  it('puts bos and eos around a text when the file asks for them, or the pre-tokenizer implies it', async () => {
    const ends = async (changes: Readonly<Record<string, GgufValue>>) =>
      (await rebuilt(await metadataOf('bpe', changes), 'ends')).encode('a', { add_special_tokens: true }).ids
    const [a] = await ends({})
    expect(await ends({})).toEqual([a])
    expect(await ends({ 'tokenizer.ggml.pre': text('llama-bpe') })).toEqual([0, a])
    expect(
      await ends({ 'tokenizer.ggml.pre': text('llama-bpe'), 'tokenizer.ggml.add_bos_token': flag(false) }),
    ).toEqual([a])
    const both = { 'tokenizer.ggml.add_bos_token': flag(true), 'tokenizer.ggml.add_eos_token': flag(true) }
    expect(await ends(both)).toEqual([0, a, 2])
  })

  it('makes control tokens special and keeps user-defined ones whole', async () => {
    const { json } = buildTokenizer(await metadataOf('bpe'))
    expect(json.added_tokens).toMatchObject([
      { id: 0, content: '<|endoftext|>', special: true },
      { id: 1, content: '<|im_start|>', special: true },
      { id: 2, content: '<|im_end|>', special: true },
      { content: '<tool_call>', special: false, normalized: false },
    ])
  })

  it('carries the chat template and the named tokens', async () => {
    const source = await metadataOf('bpe', {
      'tokenizer.chat_templates': { type: 'array', elementType: 'string', value: ['tool_use'] },
      'tokenizer.chat_template.tool_use': text('{{ tools }}'),
      'tokenizer.ggml.eot_token_id': number(1),
    })
    expect(tokenizerConfig(source, buildTokenizer(source))).toMatchObject({
      bos_token: '<|endoftext|>',
      eos_token: '<|im_end|>',
      add_bos_token: false,
      chat_template: [{ name: 'default' }, { name: 'tool_use', template: '{{ tools }}' }],
    })
    expect(generationConfig(source)).toEqual({ bos_token_id: 0, eos_token_id: [2, 1] })
    const plain = await metadataOf('bpe')
    expect(tokenizerConfig(plain, buildTokenizer(plain))).toMatchObject({
      chat_template: '{% for m in messages %}{{ m.content }}{% endfor %}',
    })
  })

  it.each<[what: string, changes: Readonly<Record<string, GgufValue | undefined>>, message: RegExp]>([
    [
      'a token listed twice',
      { 'tokenizer.ggml.tokens': { type: 'array', elementType: 'string', value: ['a', 'b', 'a'] } },
      /token "a" has ids 0 and 2, expected one/,
    ],
    [
      'a merge of something that is no token',
      { 'tokenizer.ggml.merges': { type: 'array', elementType: 'string', value: ['a zzzz'] } },
      /merge 0 is "a zzzz", expected two tokens that together are a third/,
    ],
    [
      'types of another number of tokens',
      { 'tokenizer.ggml.token_type': { type: 'array', elementType: 'int32', value: new Int32Array(3) } },
      /"tokenizer\.ggml\.token_type" is an array of int32, expected an array of \d+ numbers/,
    ],
    [
      'a bos to add that has no id',
      { 'tokenizer.ggml.add_bos_token': flag(true), 'tokenizer.ggml.bos_token_id': undefined },
      /adds a bos token to every text but metadata "tokenizer\.ggml\.bos_token_id" is missing/,
    ],
    ['no merges', { 'tokenizer.ggml.merges': undefined }, /"tokenizer\.ggml\.merges" is missing/],
  ])('refuses %s', async (_, changes, message) => {
    const source = await metadataOf('bpe', changes)
    expect(() => buildTokenizer(source)).toThrow(CheckpointError)
    expect(() => buildTokenizer(source)).toThrow(message)
  })

  it('refuses a kind of tokenizer it cannot rebuild', async () => {
    const source = await metadataOf('bpe', { 'tokenizer.ggml.model': text('t5') })
    expect(() => buildTokenizer(source)).toThrow(/has tokenizer "t5", expected one of gpt2, llama, bert/)
  })
})

describe.each(['spm', 'spmBare'] as const)('SentencePiece, %s', (name) => {
  it('gives the ids of sentencepiece and of llama.cpp, and the text back', async () => {
    const tokenizer = await rebuilt(await metadataOf(name), name)
    for (const [i, line] of lines.entries()) {
      const { ids } = tokenizer.encode(line, { add_special_tokens: false })
      expect(ids, line).toEqual(expected[name].llama[i])
      if (i < expected.lines.length) {
        expect(ids, line).toEqual(expected[name].sentencepiece[i])
        expect(tokenizer.decode(ids)).toBe(line)
      }
    }
  })

  it('starts a text with bos unless the file says otherwise', async () => {
    const ids = async (changes: Readonly<Record<string, GgufValue>>) =>
      (await rebuilt(await metadataOf(name, changes), 'ends')).encode('a', { add_special_tokens: true }).ids
    expect((await ids({}))[0]).toBe(1)
    expect((await ids({ 'tokenizer.ggml.add_bos_token': flag(false) }))[0]).not.toBe(1)
  })
})

it('merges towards tokens of text only, best score first, the longer left part first', () => {
  const entry = (value: GgufValue) => ({ value, position: 0, byteLength: 0 })
  const tokens = ['<unk>', '<s>', '<', 's>', 'a', 'b', 'ab', 'aba', 'ba', '<0x41>', '<0x', '41>', 'abb']
  const types = [2, 3, 1, 1, 1, 1, 1, 1, 1, 6, 1, 1, 5]
  const source = {
    path: 'model.gguf',
    metadata: new Map([
      ['tokenizer.ggml.tokens', entry({ type: 'array', elementType: 'string', value: tokens })],
      ['tokenizer.ggml.token_type', entry({ type: 'array', elementType: 'int32', value: Int32Array.from(types) })],
      [
        'tokenizer.ggml.scores',
        entry({ type: 'array', elementType: 'float32', value: Float32Array.from(tokens, (_, id) => -id) }),
      ],
    ]),
  }
  expect(mergesFromScores(source, vocabularyOf(source))).toEqual([
    ['a', 'b'],
    ['ab', 'a'],
    ['a', 'ba'],
    ['b', 'a'],
  ])
})

it('refuses a SentencePiece vocabulary with neither scores nor merges, and one that squeezes spaces', async () => {
  const bare = await metadataOf('spm', { 'tokenizer.ggml.scores': undefined })
  expect(() => buildTokenizer(bare)).toThrow(
    /has neither metadata "tokenizer\.ggml\.scores" nor "tokenizer\.ggml\.merges"/,
  )
  const squeezing = await metadataOf('spm', { 'tokenizer.ggml.remove_extra_whitespaces': flag(true) })
  expect(() => buildTokenizer(squeezing)).toThrow(UnsupportedModelError)
})

describe('WordPiece', () => {
  it("gives the ids of the tokenizer it was converted from, BERT's spelling restored", async () => {
    const source = await metadataOf('wordpiece')
    const tokenizer = await rebuilt(source, 'wordpiece')
    for (const [i, line] of expected.lines.entries()) {
      expect(tokenizer.encode(line, { add_special_tokens: true }).ids, line).toEqual(expected.wordpiece.tokenizers[i])
    }
    const { vocabulary, json } = buildTokenizer(source)
    expect(vocabulary.tokens.some((token) => token.startsWith('##'))).toBe(true)
    expect(vocabulary.tokens.some((token) => token.startsWith('▁'))).toBe(false)
    expect(json.normalizer).toMatchObject({ lowercase: true })
  })

  it('keeps capitals when the vocabulary has some, and obeys a file that says', async () => {
    const { metadata } = await metadataOf('wordpiece')
    const tokens = metadata.get('tokenizer.ggml.tokens')?.value.value as readonly string[]
    const cased: GgufValue = { type: 'array', elementType: 'string', value: tokens.with(20, '▁Paris') }
    const normalizerOf = async (changes: Readonly<Record<string, GgufValue>>) =>
      buildTokenizer(await metadataOf('wordpiece', changes)).json.normalizer
    expect(await normalizerOf({ 'tokenizer.ggml.tokens': cased })).toMatchObject({ lowercase: false })
    const doubleStruck: GgufValue = { type: 'array', elementType: 'string', value: tokens.with(20, '▁ℝ') }
    expect(await normalizerOf({ 'tokenizer.ggml.tokens': doubleStruck })).toMatchObject({ lowercase: true })
    expect(await normalizerOf({ 'tokenizer.ggml.normalizer.lowercase': flag(false) })).toMatchObject({
      lowercase: false,
    })
  })
})
