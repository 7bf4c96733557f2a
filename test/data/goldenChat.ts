import { readFileSync } from 'node:fs'
import type { Conversation } from '../../src/data/conversation.ts'

interface Encoded {
  readonly ids: readonly number[]
  /** 1 for a token of an answer, its end included. */
  readonly answers: readonly number[]
}

/** What apply_chat_template of transformers 5.23 gives; made by make.py beside the file. */
export const goldenChat = JSON.parse(
  readFileSync(new URL('../fixtures/chat/golden.json', import.meta.url), 'utf8'),
) as {
  readonly templates: Readonly<Record<string, string>>
  readonly conversations: readonly Conversation['messages'][]
  readonly cases: readonly {
    readonly tokenizer: string
    readonly template: string
    readonly encoded: readonly Encoded[]
  }[]
}

/** The golden conversations as a source. */
export const goldenConversations = {
  name: 'golden',
  conversations: goldenChat.conversations.map((messages) => ({ messages })),
  place: (index: number) => `conversation ${index}`,
}

/** The targets of a conversation whose answers are marked: the next token where it belongs to one. */
export function answerTargets({ ids, answers }: Encoded): number[] {
  return ids.map((_, i) => (answers[i + 1] === 1 ? ids[i + 1]! : -1))
}
