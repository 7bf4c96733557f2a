import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { readTexts } from '../../src/data/textSource.ts'
import { loadTokenizer, type Tokenizer } from '../../src/data/tokenizer.ts'
import { CalibrationError, CheckpointError, UnsupportedModelError } from '../../src/errors.ts'
import { assetsOf, loadBrownTokenizer } from './brownTokenizer.ts'

const fixtures = new URL('../fixtures/tokenizers/', import.meta.url)
const lines = JSON.parse(readFileSync(new URL('lines.json', fixtures), 'utf8')) as string[]

/** What transformers 5.23.0 with tokenizers 0.23.3 gives for the lines; made by make.py beside it. */
const golden = JSON.parse(readFileSync(new URL('golden.json', fixtures), 'utf8')) as {
  readonly tokenizers: Readonly<Record<string, Golden>>
}
interface Golden {
  readonly vocabSize: number
  /** 12 hexadecimal digits a line. */
  readonly hashes: string
  readonly withSpecialTokens: string
  readonly sample: Readonly<Record<string, readonly number[]>>
  readonly decoded: string
}

const hashOf = (value: string) => createHash('sha256').update(value).digest('hex').slice(0, 12)

const loaded = new Map<string, Promise<Tokenizer>>()

function load(name: string): Promise<Tokenizer> {
  const folder =
    name === 'brown-llama' ? new URL('../../models/brown-llama/', import.meta.url) : new URL(`${name}/`, fixtures)
  const tokenizer = loaded.get(name) ?? loadTokenizer(assetsOf(folder), (golden.tokenizers[name] as Golden).vocabSize)
  loaded.set(name, tokenizer)
  return tokenizer
}

test('the golden file holds the tokenizers of this test and a thousand lines', () => {
  expect(lines).toHaveLength(1000)
  expect(Object.keys(golden.tokenizers).sort()).toEqual(names.toSorted())
})

const names = [
  ...['brown-llama', 'brown-bert', 'brown-t5', 'all-minilm-l6-v2'],
  ...['like-llama2', 'like-gemma', 'like-llama3', 'like-smollm', 'like-roberta', 'like-t5', 'word-piece'],
]

describe.each(names)('%s', (name) => {
  const expected = golden.tokenizers[name] as Golden

  test('gives the ids of transformers for every line', async () => {
    const tokenizer = await load(name)
    for (const [line, ids] of Object.entries(expected.sample)) {
      expect([...tokenizer.encode(lines[Number(line)] as string)], `line ${line}`).toEqual(ids)
    }
    const differing = lines.filter((line, i) => {
      const hash = hashOf(JSON.stringify([...tokenizer.encode(line)]))
      return hash !== expected.hashes.slice(12 * i, 12 * i + 12)
    })
    expect(differing).toEqual([])
  })

  test('adds the special tokens of transformers', async () => {
    const tokenizer = await load(name)
    const ids = lines.map((line) => [...tokenizer.encode(line, { addSpecialTokens: true })])
    // written as Python's json.dumps writes nested lists with these separators
    expect(hashOf(JSON.stringify(ids))).toBe(expected.withSpecialTokens)
  })

  test('decodes to the text of transformers', async () => {
    const tokenizer = await load(name)
    expect(hashOf(lines.map((line) => tokenizer.decode(tokenizer.encode(line))).join('\n'))).toBe(expected.decoded)
  })
})

const assets = (files: Readonly<Record<string, unknown>>) =>
  new Map(
    Object.entries(files).map(([name, value]) => [
      name,
      async () => new TextEncoder().encode(typeof value === 'string' ? value : JSON.stringify(value)),
    ]),
  )

const smallModel = { model: { type: 'BPE', vocab: { a: 0, b: 1, ab: 2 }, merges: ['a b'] } }
const words = { type: 'ByteLevel', add_prefix_space: false, use_regex: true }
const split = (regex: string) => ({ type: 'Split', pattern: { Regex: regex }, behavior: 'Isolated', invert: false })

describe('cut', () => {
  const cutting = [
    'brown-llama',
    'brown-bert',
    'brown-t5',
    'all-minilm-l6-v2',
    'like-llama3',
    'like-smollm',
    'like-roberta',
  ]

  test.each(cutting)('%s gives the ids of the whole text in parts', async (name) => {
    const tokenizer = await load(name)
    const text = lines.slice(400).join(' word and word ')
    const whole = tokenizer.encode(text)
    const parts: number[] = []
    let [start, cuts] = [0, 0]
    for (;;) {
      const end = tokenizer.cut(text, start + 1)
      parts.push(...tokenizer.encode(end < 0 ? text.slice(start) : text.slice(start, end)))
      if (end < 0) break
      start = end
      cuts++
    }
    expect(cuts).toBeGreaterThan(1000)
    expect(parts.length).toBe(whole.length)
    expect(parts.every((id, i) => id === whole[i])).toBe(true)
  })

  test.each(['like-llama2', 'like-gemma', 'like-t5', 'word-piece'])('%s promises nothing', async (name) => {
    expect((await load(name)).cut('two words and more', 0)).toBe(-1)
  })

  test.each([
    ['words are not cut at blanks', { pre_tokenizer: { type: 'Digits', individual_digits: true } }],
    ['there are no words', { pre_tokenizer: null }],
    ['a pattern is unknown', { pre_tokenizer: split('.+') }],
    [
      'one of several pre-tokenizers is unknown',
      { pre_tokenizer: { type: 'Sequence', pretokenizers: [words, split('x')] } },
    ],
    ['a normalizer may join', { normalizer: { type: 'Replace', pattern: { Regex: 'a b' }, content: 'ab' } }],
    ['an added token has a blank', { added_tokens: [{ id: 9, content: 'a b', special: true }] }],
    [
      'an added token takes the blank after it',
      { added_tokens: [{ id: 9, content: 'X', special: true, rstrip: true }] },
    ],
  ])('is not promised where %s', async (_, difference) => {
    const json = { added_tokens: [], pre_tokenizer: words, normalizer: { type: 'NFC' }, ...smallModel }
    const cut = async (value: object) => (await loadTokenizer(assets({ 'tokenizer.json': value }), 10)).cut('a b', 0)
    expect(await cut(json)).toBe(1)
    expect(await cut({ ...json, ...difference })).toBe(-1)
  })

  test('finds the blank between two letters, from a position on', async () => {
    const tokenizer = await loadBrownTokenizer()
    expect(tokenizer.cut('a. b 1 c d', 0)).toBe(8)
    expect(tokenizer.cut('ab cd ef', 2)).toBe(5)
    expect(tokenizer.cut('abc', 0)).toBe(-1)
  })
})

test('a long text takes time and memory in proportion', async () => {
  const { texts } = await readTexts('embedded:test')
  const text = texts.join('\n\n')
  for (const name of ['brown-llama', 'like-llama2', 'brown-t5', 'like-t5']) {
    const tokenizer = await load(name)
    const time = (length: number) => {
      const start = performance.now()
      tokenizer.encode(text.slice(0, length))
      return performance.now() - start
    }
    time(20_000)
    // ten times the text; measured 8 to 12 times the time, quadratic would be 100
    expect(time(200_000) / time(20_000), name).toBeLessThan(40)
  }
})

describe('loadTokenizer', () => {
  const bytePairs = (extra: Readonly<Record<string, unknown>> = {}) => ({
    'tokenizer.json': { added_tokens: [], ...smallModel, ...extra },
  })

  test('names the BOS that is added, and the one that is only configured', async () => {
    expect(await load('like-llama3')).toMatchObject({ bosTokenId: 0, addsBos: true })
    expect(await load('like-roberta')).toMatchObject({ bosTokenId: 0, addsBos: true })
    expect(await load('brown-bert')).toMatchObject({ bosTokenId: 2, addsBos: true })
    expect(await load('brown-llama')).toMatchObject({ bosTokenId: 0, addsBos: false })
    expect(await load('brown-t5')).toMatchObject({ bosTokenId: undefined, addsBos: false })
  })

  test('says what to do without a tokenizer.json', async () => {
    await expect(loadTokenizer(new Map(), 10)).rejects.toThrow(
      /^tokenizer.json: is not among the files.*pass the ids with --tokens, with --task hiddenStates where/,
    )
    await expect(loadTokenizer(new Map(), 10)).rejects.toThrow(CheckpointError)
  })

  test('refuses files that are damaged', async () => {
    await expect(loadTokenizer(assets({ 'tokenizer.json': '{"model": {' }), 10)).rejects.toThrow('is not JSON')
    await expect(loadTokenizer(assets({ 'tokenizer.json': '[1]' }), 10)).rejects.toThrow(
      'holds [1], expected an object',
    )
    await expect(loadTokenizer(assets({ 'tokenizer.json': {} }), 10)).rejects.toThrow('has no model.vocab')
    await expect(
      loadTokenizer(assets({ 'tokenizer.json': { model: { type: 'BPE', vocab: { a: 0 } } } }), 10),
    ).rejects.toThrow(/^tokenizer.json: cannot be used/)
    const charsmap = { normalizer: { type: 'Precompiled', precompiled_charsmap: 'AAAB' } }
    await expect(loadTokenizer(assets(bytePairs(charsmap)), 10)).rejects.toThrow('precompiled_charsmap is damaged')
  })

  test('refuses a tokenizer of another vocabulary', async () => {
    await expect(loadTokenizer(assets(bytePairs()), 2)).rejects.toThrow(
      'its vocabulary counts up to id 2, expected at most 1 for the vocab_size 2 of config.json',
    )
    const added = bytePairs({ added_tokens: [{ id: 3, content: '<x>', special: true }] })
    const tokenizer = await loadTokenizer(assets(added), 3)
    expect([...tokenizer.encode('ab')]).toEqual([2])
    expect(() => tokenizer.encode('a<x>')).toThrow(CalibrationError)
    expect(() => tokenizer.encode('a<x>')).toThrow('token "<x>" with id 3, expected ids 0..2')
  })

  test('refuses parts that it would read differently', async () => {
    const merged = { ...split('a+'), behavior: 'MergedWithNext' }
    await expect(loadTokenizer(assets(bytePairs({ pre_tokenizer: merged })), 10)).rejects.toThrow(UnsupportedModelError)
    const model = { type: 'Unigram', vocab: [['a', -1]], unk_id: 0, byte_fallback: true }
    await expect(loadTokenizer(assets(bytePairs({ model })), 10)).rejects.toThrow('Unigram with byte_fallback')
  })

  test('keeps a text one word where merges reach over its marks, or the vocabulary holds longer words', async () => {
    const vocab = { a: 0, '▁': 1, 'a▁': 2, b: 3, 'a▁b': 4 }
    const ids = async (model: object) => [
      ...(await loadTokenizer(assets(bytePairs({ pre_tokenizer: null, model })), 10)).encode('a▁b'),
    ]
    expect(await ids({ type: 'BPE', vocab, merges: ['a ▁'] })).toEqual([2, 3])
    expect(await ids({ type: 'BPE', vocab, merges: ['b b'], ignore_merges: true })).toEqual([4])
    expect(await ids({ type: 'BPE', vocab, merges: ['b b'] })).toEqual([0, 1, 3])
  })

  test('finds added tokens in the text as it is written, not in what a normalizer makes of it', async () => {
    const added_tokens = [{ id: 9, content: '<s>', special: true, normalized: false }]
    const model = { type: 'BPE', vocab: { '<': 0, s: 1, '>': 2, a: 3 }, merges: [] }
    const json = bytePairs({ added_tokens, normalizer: { type: 'Lowercase' }, model })
    const tokenizer = await loadTokenizer(assets(json), 10)
    expect([...tokenizer.encode('a<s>a')]).toEqual([3, 9, 3])
    expect([...tokenizer.encode('<S>')]).toEqual([0, 1, 2])
    const normalized = bytePairs({
      added_tokens: [{ ...added_tokens[0], normalized: true }],
      normalizer: { type: 'Lowercase' },
      model,
    })
    expect([...(await loadTokenizer(assets(normalized), 10)).encode('a<S>')]).toEqual([3, 9])
  })

  // as tokenizers 0.23.3
  test.each([
    [
      'a single word only between other characters than those of words',
      { single_word: true },
      {
        'x XY x': [0, 2, 9, 2, 0],
        xXY: [0, 1, 5],
        'XY.': [9, 3],
        XYXY: [1, 5, 1, 5],
        'XYXYX XY': [1, 5, 1, 5, 1, 2, 9],
      },
    ],
    [
      'with the white space of Unicode around it',
      { lstrip: true, rstrip: true },
      { 'x\u0085XY\u3000x': [0, 9, 0], 'xXY\ufeffx': [0, 9, 4, 0], ' XY XY ': [9, 9] },
    ],
  ])('finds an added token that is %s', async (_, kind, cases) => {
    const added_tokens = [{ id: 9, content: 'XY', normalized: false, ...kind }]
    const model = { type: 'BPE', vocab: { x: 0, X: 1, ' ': 2, '.': 3, '\ufeff': 4, Y: 5 }, merges: [] }
    const tokenizer = await loadTokenizer(assets(bytePairs({ added_tokens, model })), 10)
    for (const [text, ids] of Object.entries(cases))
      expect([...tokenizer.encode(text)], JSON.stringify(text)).toEqual(ids)
  })

  test('takes a dollar in a replacement for a dollar', async () => {
    const normalizer = { type: 'Replace', pattern: { String: 'x' }, content: '$&' }
    const model = { type: 'BPE', vocab: { $: 0, '&': 1, a: 2 }, merges: [] }
    const tokenizer = await loadTokenizer(assets(bytePairs({ normalizer, model })), 10)
    expect([...tokenizer.encode('ax')]).toEqual([2, 0, 1])
  })
})
