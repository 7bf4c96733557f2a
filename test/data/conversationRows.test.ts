import { describe, expect, it } from 'vitest'
import { type ChatTemplate, loadChatTemplate } from '../../src/data/chatTemplate.ts'
import { conversationsAmong } from '../../src/data/conversation.ts'
import { type ConversationRowsOptions, conversationRows } from '../../src/data/conversationRows.ts'
import { fixedDate } from '../../src/data/fixedDate.ts'
import { loadTokenizer } from '../../src/data/tokenizer.ts'
import { assetsOf } from './brownTokenizer.ts'
import { answerTargets, goldenChat, goldenConversations } from './goldenChat.ts'

const asBytes = (value: unknown) => async () =>
  new TextEncoder().encode(typeof value === 'string' ? value : JSON.stringify(value))

/** The tokenizer of a fixture and a chat template, as a model has both among its files. */
async function opened(name: string, source: string) {
  const fixtures = new URL(`../fixtures/tokenizers/${name}/`, import.meta.url)
  const folder = name === 'brown-llama' ? new URL('../../models/brown-llama/', import.meta.url) : fixtures
  const assets = new Map([...assetsOf(folder), ['chat_template.jinja', asBytes(source)]])
  return { tokenizer: await loadTokenizer(assets, 1e6), template: await loadChatTemplate(assets) }
}

const options = (template: ChatTemplate | undefined, given: Partial<ConversationRowsOptions> = {}) => ({
  ...{ template, lossOn: 'all' as const, rowLength: 256, padTokenId: 0 },
  ...given,
})

const unitCases = goldenChat.cases.filter(({ tokenizer }) => tokenizer !== 'smollm2')

describe.each(unitCases)('$tokenizer with the template $template', ({ tokenizer: name, template: key, encoded }) => {
  it('gives the ids of transformers, one conversation a row, and predicts every token but the first', async () => {
    const { tokenizer, template } = await opened(name, goldenChat.templates[key]!)
    const rows = conversationRows(goldenConversations, tokenizer, options(template))
    expect(rows.description.tokens).toBe(encoded.reduce((total, { ids }) => total + ids.length, 0))
    for (const [row, { ids }] of encoded.entries()) {
      const start = row * rows.rowLength
      expect(rows.lengths?.[row]).toBe(ids.length)
      expect([...rows.ids.subarray(start, start + ids.length)]).toEqual(ids)
      const targets = [...rows.targets!.subarray(start, start + rows.rowLength)]
      const expected = [...ids.slice(1), ...new Array<number>(rows.rowLength - ids.length + 1).fill(-1)]
      expect(targets).toEqual(expected)
    }
  })

  it('counts the tokens of the answers that transformers marks, where it is asked to', async () => {
    const { tokenizer, template } = await opened(name, goldenChat.templates[key]!)
    const rows = conversationRows(goldenConversations, tokenizer, options(template, { lossOn: 'answers' }))
    for (const [row, golden] of encoded.entries()) {
      const targets = [...rows.targets!.subarray(row * rows.rowLength, row * rows.rowLength + golden.ids.length)]
      expect(targets).toEqual(answerTargets(golden))
    }
    expect(rows.description.prediction).toBe('the answers of 4 conversations, by the chat template')
  })
})

describe('conversations as rows', () => {
  it('begin with one BOS, whether the template writes it or not', async () => {
    const { tokenizer, template } = await opened('like-llama2', goldenChat.templates['inst']!)
    const everyRow = options(template, { bosEveryRow: true })
    const written = conversationRows(goldenConversations, tokenizer, everyRow)
    expect(written.ids).toEqual(conversationRows(goldenConversations, tokenizer, options(template)).ids)
    expect(written.description.bos).toBe('every-row')
    const { template: bare } = await opened('like-llama2', goldenChat.templates['chatml']!)
    const added = conversationRows(goldenConversations, tokenizer, options(bare, { bosEveryRow: true }))
    const without = conversationRows(goldenConversations, tokenizer, options(bare))
    expect(without.description.bos).toBe('none')
    expect([...added.ids.subarray(0, 4)]).toEqual([tokenizer.bosTokenId, ...without.ids.subarray(0, 3)])
  })

  it('are cut at the length of a row, passed over without an answer in it, and counted', async () => {
    const { tokenizer, template } = await opened('brown-llama', goldenChat.templates['chatml']!)
    const [first] = unitCases.find((c) => c.tokenizer === 'brown-llama')!.encoded
    const firstAnswer = first!.answers.indexOf(1)
    const short = options(template, { lossOn: 'answers', rowLength: firstAnswer + 1 })
    const rows = conversationRows(goldenConversations, tokenizer, short)
    expect([...rows.targets!.subarray(0, firstAnswer + 1)].filter((id) => id >= 0)).toEqual([first!.ids[firstAnswer]])
    expect(rows.rows).toBe(3)
    expect(rows.description.prediction).toMatch(new RegExp(`^the answers of 3 .*, 2 cut at ${firstAnswer + 1} tokens$`))
    expect(() => conversationRows(goldenConversations, tokenizer, { ...short, rowLength: 8 })).toThrow(
      'golden: 0 of 4 conversations have an answer that begins within 8 tokens, expected at least 1',
    )
    expect(() => conversationRows(goldenConversations, tokenizer, { ...short, rows: 5, rowLength: 256 })).toThrow(
      '4 of 4 conversations have an answer that begins within 256 tokens, expected 5',
    )
  })

  it('are drawn with a seed', async () => {
    const { tokenizer, template } = await opened('brown-llama', goldenChat.templates['chatml']!)
    const drawn = (seed: number) =>
      conversationRows(goldenConversations, tokenizer, options(template, { draw: { texts: 2, seed } }))
    expect(drawn(1).rows).toBe(2)
    expect(drawn(1).ids).toEqual(drawn(1).ids)
    expect(new Set([1, 2, 3, 4, 5].map((seed) => drawn(seed).ids.join())).size).toBeGreaterThan(1)
    expect(() =>
      conversationRows(goldenConversations, tokenizer, options(template, { draw: { texts: 5, seed: 1 } })),
    ).toThrow('has 4 conversations, expected at least 5 to draw from')
  })

  it('say which turns a template refuses, and which answers it changes', async () => {
    const { tokenizer, template } = await opened('like-llama2', goldenChat.templates['inst']!)
    const messages = [
      { role: 'user', content: 'a' },
      { role: 'user', content: 'b' },
    ]
    expect(() =>
      conversationRows({ ...goldenConversations, conversations: [{ messages }] }, tokenizer, options(template)),
    ).toThrow('golden: conversation 0: the chat template refuses the turns user, user (roles must alternate)')
    const shouting = await opened('like-llama2', '{% for m in messages %}{{ m.content | upper }}{% endfor %}')
    expect(() =>
      conversationRows(goldenConversations, tokenizer, options(shouting.template, { lossOn: 'answers' })),
    ).toThrow('the chat template changes its answers, so that they cannot be told from the rest; give --loss-on all')
    expect(conversationRows(goldenConversations, tokenizer, options(shouting.template)).rows).toBe(4)
  })

  it('need a template, unless they are a prompt and its answer', async () => {
    const { tokenizer } = await opened('brown-llama', '')
    expect(() => conversationRows(goldenConversations, tokenizer, options(undefined))).toThrow(
      'golden: conversation 0: is a conversation, but the model has no chat template; put its chat_template.jinja beside',
    )
    const plain = { prompt: 'One and one is', answer: ' two.' }
    const source = { ...goldenConversations, conversations: [{ messages: [], plain }] }
    const rows = conversationRows(source, tokenizer, options(undefined, { lossOn: 'answers' }))
    expect(tokenizer.decode(rows.targets!.filter((id) => id >= 0))).toBe(' two.')
  })
})

describe('a template', () => {
  it('is looked for in chat_template.jinja, tokenizer_config.json and chat_template.json, the default of several first', async () => {
    const render = async (files: Readonly<Record<string, unknown>>) =>
      (await loadChatTemplate(new Map(Object.entries(files).map(([name, file]) => [name, asBytes(file)]))))?.render([])
    expect(await render({})).toBeUndefined()
    expect(await render({ 'chat_template.json': { chat_template: 'c' } })).toBe('c')
    expect(await render({ 'tokenizer_config.json': { chat_template: 'b' }, 'chat_template.jinja': 'a' })).toBe('a')
    const several = [
      { name: 'tools', template: 't' },
      { name: 'default', template: 'd' },
    ]
    expect(await render({ 'tokenizer_config.json': { chat_template: several } })).toBe('d')
    const bos = {
      'special_tokens_map.json': { bos_token: { content: '<s>' } },
      'chat_template.jinja': '{{ bos_token }}',
    }
    expect(await render(bos)).toBe('<s>')
    await expect(render({ 'chat_template.jinja': '{% if %}' })).rejects.toThrow('the chat template cannot be parsed')
  })

  it('has one date, whatever the day', () => {
    expect(fixedDate('%d %b %Y, %-d.%-m., %A')).toBe('26 Jul 2024, 26.7., Friday')
    expect(() => fixedDate('%Q')).toThrow('unknown directive %Q')
  })
})

describe('the columns of conversations', () => {
  const turns = [
    { role: 'user', content: 'q' },
    { role: 'assistant', content: 'a' },
  ]
  it.each([
    ['messages', { messages: turns }, turns],
    [
      'ShareGPT',
      {
        conversations: [
          { from: 'human', value: 'q' },
          { from: 'gpt', value: 'a' },
        ],
      },
      turns,
    ],
    ['parts of text', { messages: [{ role: 'user', content: [{ type: 'text', text: 'q' }] }, turns[1]] }, turns],
    ['prompt and completion', { prompt: 'q', completion: 'a', id: 1 }, turns],
    ['prompts of turns', { prompt: turns.slice(0, 1), completion: turns.slice(1) }, turns],
    ['Alpaca', { instruction: 'q', input: '', output: 'a' }, turns],
    ['Alpaca without the column input', { instruction: 'q', output: 'a' }, turns],
    [
      'Alpaca with input',
      { instruction: 'q', input: 'i', output: 'a' },
      [{ role: 'user', content: 'q\n\ni' }, turns[1]],
    ],
  ])('%s are turns', (_, row, expected) => {
    const columns = conversationsAmong(Object.keys(row))!
    expect(columns.conversation(row)?.messages).toEqual(expected)
  })

  it('that hold something else are no conversation', () => {
    const { conversation } = conversationsAmong(['messages'])!
    for (const messages of ['text', [], [{ role: 'user' }], [{ role: 'user', content: [{ type: 'image' }] }], [null]]) {
      expect(conversation({ messages })).toBeUndefined()
    }
    expect(conversationsAmong(['text', 'prompt'])).toBeUndefined()
  })
})
