import { CalibrationError } from '../errors.ts'
import { Random } from '../tensor/random.ts'
import { answerSpans, type Span } from './answers.ts'
import { describeRows, type PackedRows } from './calibration.ts'
import type { ChatTemplate } from './chatTemplate.ts'
import type { Conversation } from './conversation.ts'
import { paddedRows } from './paddedRows.ts'
import type { Tokenizer } from './tokenizer.ts'

/** What is missing where a conversation cannot be read, and the cure. */
export const noTemplate =
  'the model has no chat template; put its chat_template.jinja beside tokenizer.json, or name a column of plain texts with --column'

/** What the loss of a conversation counts. */
export type LossOn = 'all' | 'answers'

export interface ConversationRowsOptions {
  /** By which the model writes conversations; undefined: prompt and answer are joined as they are. */
  readonly template: ChatTemplate | undefined
  /** Every token but the first, or those of the answers with the token that ends them. */
  readonly lossOn: LossOn
  /** Tokens of a row at most; what is longer is cut at its end. */
  readonly rowLength: number
  /** Exactly this many rows; absent: all. */
  readonly rows?: number | undefined
  /** Take this many conversations, drawn with this seed, instead of the first. */
  readonly draw?: { readonly texts: number; readonly seed: number } | undefined
  /** Begin rows with the BOS token that do not begin with it. */
  readonly bosEveryRow?: boolean | undefined
  readonly padTokenId: number
}

/** Conversations of a source and where each stands, for messages. */
export interface Conversations {
  readonly name: string
  readonly conversations: readonly Conversation[]
  place(index: number): string
}

/**
 * Conversations as a model that predicts the next token reads them, one a row from its beginning, padded at the end: the text of the
 * chat template without any token besides, as `apply_chat_template` of transformers encodes it. Conversations that hold nothing to
 * predict within the row are passed over. Throws `CalibrationError` where there is no template and no plain form, too few
 * conversations, or answers that the template changes.
 */
export function conversationRows(
  source: Conversations,
  tokenizer: Tokenizer,
  options: ConversationRowsOptions,
): PackedRows {
  const { rowLength, lossOn, draw, padTokenId } = options
  const rows: EncodedConversation[] = []
  for (const index of orderOf(source, draw)) {
    if (rows.length === options.rows) break
    const row = encode(source, index, tokenizer, options)
    if (row.targets.some((id) => id >= 0)) rows.push(row)
  }
  if (rows.length === 0 || rows.length < (options.rows ?? 1)) {
    const what = lossOn === 'answers' ? `have an answer that begins within ${rowLength} tokens` : 'have two tokens'
    throw new CalibrationError(
      `${source.name}: ${rows.length} of ${source.conversations.length} conversations ${what}, expected ${options.rows ?? 'at least 1'}; ask for fewer or longer rows`,
    )
  }
  const padded = paddedRows(
    source.name,
    rows.map(({ ids }) => ids),
    padTokenId,
  )
  const { ids: targets } = paddedRows(
    source.name,
    rows.map((row) => row.targets),
    -1,
  )
  const { bosTokenId } = tokenizer
  const startsWithBos = bosTokenId !== undefined && rows.every(({ ids }) => ids[0] === bosTokenId)
  const cut = rows.filter(({ isCut }) => isCut).length
  const prediction = [
    `${lossOn === 'answers' ? 'the answers' : 'every token'} of ${rows.length} conversations`,
    options.template === undefined ? 'without a chat template' : 'by the chat template',
    ...(cut > 0 ? [`${cut} cut at ${rowLength} tokens`] : []),
  ].join(', ')
  const description = describeRows(source.name, padded, startsWithBos ? 'every-row' : 'none')
  const tokens = rows.reduce((total, { ids }) => total + ids.length, 0)
  return { ...padded, targets, description: { ...description, tokens, ...draw, prediction } }
}

interface EncodedConversation {
  readonly ids: Int32Array
  /** The next token where it counts, else -1. */
  readonly targets: Int32Array
  readonly isCut: boolean
}

function orderOf({ name, conversations }: Conversations, draw: ConversationRowsOptions['draw']): number[] {
  if (draw === undefined) return conversations.map((_, index) => index)
  if (draw.texts <= conversations.length) return new Random(draw.seed).sample(conversations.length, draw.texts)
  throw new CalibrationError(
    `${name}: has ${conversations.length} conversations, expected at least ${draw.texts} to draw from; ask for fewer`,
  )
}

function encode(
  source: Conversations,
  index: number,
  tokenizer: Tokenizer,
  { template, lossOn, rowLength, bosEveryRow }: ConversationRowsOptions,
): EncodedConversation {
  const { text, counted } = rendered(source, index, template, lossOn)
  const bare = tokenizer.encode(text)
  const bos = bosEveryRow === true && bare[0] !== tokenizer.bosTokenId ? tokenizer.bosTokenId : undefined
  const whole = bos === undefined ? bare : Int32Array.of(bos, ...bare)
  const first = whole.length - bare.length
  const targets = new Int32Array(whole.length).fill(-1)
  for (const span of counted) {
    const [start, end] = tokensOf(span, text, bare, tokenizer)
    for (let token = Math.max(1, first + start); token < first + end; token++) targets[token - 1] = whole[token]!
  }
  const ids = whole.slice(0, rowLength)
  // the last token of a row that is cut predicts one that is not in it
  return { ids, targets: targets.slice(0, ids.length).fill(-1, ids.length - 1), isCut: whole.length > rowLength }
}

/** The text of a conversation, and what counts of it, in characters. */
function rendered(
  source: Conversations,
  index: number,
  template: ChatTemplate | undefined,
  lossOn: LossOn,
): { readonly text: string; readonly counted: readonly Span[] } {
  const { messages, plain } = source.conversations[index]!
  const fail = (what: string, cause?: unknown) =>
    new CalibrationError(`${source.name}: ${source.place(index)}: ${what}`, cause === undefined ? {} : { cause })
  if (template === undefined) {
    if (plain === undefined) throw fail(`is a conversation, but ${noTemplate}`)
    const text = plain.prompt + plain.answer
    return { text, counted: [[lossOn === 'all' ? 0 : plain.prompt.length, text.length]] }
  }
  let text: string
  let answers: readonly Span[] | undefined
  try {
    text = template.render(messages)
    answers = lossOn === 'all' ? [[0, text.length]] : answerSpans(template, messages, text)
  } catch (cause) {
    throw fail((cause as Error).message, cause)
  }
  if (answers !== undefined) return { text, counted: answers }
  throw fail('the chat template changes its answers, so that they cannot be told from the rest; give --loss-on all')
}

/** The tokens that hold the characters of `span`: from the first that is not the same without them. */
function tokensOf([start, end]: Span, text: string, ids: Int32Array, tokenizer: Tokenizer): Span {
  if (start === 0 && end === text.length) return [0, ids.length]
  const shared = (length: number) => {
    const before = tokenizer.encode(text.slice(0, length))
    let count = 0
    while (count < before.length && before[count] === ids[count]) count++
    return { count, isWhole: count === before.length }
  }
  const until = shared(end)
  return [shared(start).count, until.isWhole ? until.count : Math.min(ids.length, until.count + 1)]
}
