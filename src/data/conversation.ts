import { alpacaPrompt } from './alpaca.ts'
import { stringOf } from './columnText.ts'
import type { Row } from './table.ts'

/** One turn, as chat templates read it. */
export interface Message {
  readonly role: string
  readonly content: string
}

/** Turns in order, and how a model without a chat template reads them, where that is known. */
export interface Conversation {
  readonly messages: readonly Message[]
  readonly plain?: { readonly prompt: string; readonly answer: string } | undefined
}

/** How the conversation of a row is made. */
export interface ConversationColumns {
  readonly columns: readonly string[]
  /** Undefined where a value is not what such data holds. */
  conversation(row: Row): Conversation | undefined
}

/** The columns that hold conversations, in the order they are looked for. */
const shapes: readonly ConversationColumns[] = [
  { columns: ['messages'], conversation: (row) => ofTurns(row['messages']) },
  { columns: ['conversations'], conversation: (row) => ofTurns(row['conversations']) },
  { columns: ['prompt', 'completion'], conversation: (row) => ofPrompt(row['prompt'], row['completion']) },
  { columns: ['instruction', 'output'], conversation: ofAlpaca },
]

/** What people call these columns, for messages. */
export const conversationColumns = 'messages, conversations, prompt and completion, or instruction and output'

/** The columns of conversations among `names`; undefined where there are none. */
export function conversationsAmong(names: readonly string[]): ConversationColumns | undefined {
  const shape = shapes.find(({ columns }) => columns.every((column) => names.includes(column)))
  if (shape === undefined) return undefined
  const isAlpaca = shape.columns.includes('instruction') && names.includes('input')
  return isAlpaca ? { ...shape, columns: [...shape.columns, 'input'] } : shape
}

/** A column of any name that holds lists of turns. */
export function conversationsIn(column: string): ConversationColumns {
  return { columns: [column], conversation: (row) => ofTurns(row[column]) }
}

/** Who speaks in ShareGPT's data. */
const shareGptRoles: Readonly<Record<string, string>> = {
  human: 'user',
  user: 'user',
  gpt: 'assistant',
  chatgpt: 'assistant',
  bing: 'assistant',
  bard: 'assistant',
  assistant: 'assistant',
  system: 'system',
}

/** Turns as `{role, content}` or, as ShareGPT has them, `{from, value}`. */
function ofTurns(value: unknown): Conversation | undefined {
  const messages = messagesOf(value)
  return messages && { messages }
}

function messagesOf(value: unknown): Message[] | undefined {
  if (!Array.isArray(value) || value.length === 0) return undefined
  const messages = value.map(messageOf)
  return messages.every((message) => message !== undefined) ? messages : undefined
}

function messageOf(turn: unknown): Message | undefined {
  if (turn === null || typeof turn !== 'object') return undefined
  const { role, content, from, value } = turn as Row
  const text = textOf(content ?? value)
  if (text === undefined) return undefined
  if (typeof role === 'string') return { role, content: text }
  return typeof from === 'string' ? { role: shareGptRoles[from] ?? from, content: text } : undefined
}

/** A text, or a list of parts that are all text. */
function textOf(content: unknown): string | undefined {
  if (typeof content === 'string') return content
  if (!Array.isArray(content)) return undefined
  const parts = content.map((part) => (part !== null && typeof part === 'object' ? (part as Row)['text'] : undefined))
  return parts.every((part) => typeof part === 'string') ? parts.join('') : undefined
}

/** Two texts, or the turns before an answer and the answer. */
function ofPrompt(prompt: unknown, completion: unknown): Conversation | undefined {
  const [question, answer] = [stringOf(prompt), stringOf(completion)]
  if (question !== undefined && answer !== undefined) {
    return { messages: asked(question, answer), plain: { prompt: question, answer } }
  }
  const [before, after] = [messagesOf(prompt), messagesOf(completion)]
  return before && after && { messages: [...before, ...after] }
}

/** Alpaca's rows: the instruction and, an empty line below it, the input, if there is one. */
function ofAlpaca(row: Row): Conversation | undefined {
  const [instruction, input, output] = [row['instruction'], row['input'], row['output']].map(stringOf)
  if (instruction === undefined || input === undefined || output === undefined) return undefined
  return {
    messages: asked(input === '' ? instruction : `${instruction}\n\n${input}`, output),
    plain: { prompt: alpacaPrompt({ instruction, input }), answer: output },
  }
}

const asked = (question: string, answer: string): Message[] => [
  { role: 'user', content: question },
  { role: 'assistant', content: answer },
]
