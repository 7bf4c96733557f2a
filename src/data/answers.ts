import type { ChatTemplate } from './chatTemplate.ts'
import type { Message } from './conversation.ts'

/** Characters of a text: from, and the one after the last. */
export type Span = readonly [start: number, end: number]

/**
 * Where the answers stand in `text`, the rendered conversation: what the model would write after the opening of each of its turns,
 * up to and with the special token that ends it. Undefined where the template writes an answer or what precedes it otherwise
 * once more turns follow.
 */
export function answerSpans(
  template: ChatTemplate,
  messages: readonly Message[],
  text: string,
): readonly Span[] | undefined {
  const spans: Span[] = []
  for (const [turn, { role, content }] of messages.entries()) {
    if (role !== 'assistant') continue
    const start = startOf(template, messages.slice(0, turn), text)
    const written = content.trim()
    const at = start === undefined ? -1 : text.indexOf(written, start)
    if (start === undefined || at < 0) return undefined
    spans.push([start, endOfTurn(text, at + written.length, template.specialTokens)])
  }
  return spans
}

/** Where the model begins to write after `before`; where the opening is not what precedes an answer, where its turn begins. */
function startOf(template: ChatTemplate, before: readonly Message[], text: string): number | undefined {
  for (const opensAnswer of [true, false]) {
    const prefix = before.length === 0 ? '' : template.render(before, { opensAnswer })
    if (text.startsWith(prefix)) return prefix.length
  }
  return undefined
}

/** Behind the special token at `end`, white space before it included; `end` itself where there is none. */
function endOfTurn(text: string, end: number, specialTokens: ReadonlySet<string>): number {
  const blanks = /^\s*/.exec(text.slice(end, end + 16))![0].length
  const after = text.slice(end + blanks, end + blanks + 64)
  const lengths = [...specialTokens].filter((special) => after.startsWith(special)).map(({ length }) => length)
  const longest = Math.max(0, ...lengths)
  return longest === 0 ? end : end + blanks + longest
}
