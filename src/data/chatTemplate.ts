import { createRequire } from 'node:module'
import { CalibrationError, CheckpointError } from '../errors.ts'
import { chatTemplateOf, readAsset } from '../model/chatTemplate.ts'
import type { Message } from './conversation.ts'
import { fixedDate } from './fixedDate.ts'

// required, not imported: the declarations of 0.5.11 have relative imports without extensions, which do not compile under
// `nodenext` with library checks on
const { Template } = createRequire(import.meta.url)('@huggingface/jinja') as {
  readonly Template: new (template: string) => { render(values: Readonly<Record<string, unknown>>): string }
}

/** The library's own `strftime_now` can be set anew in a template only; the line end goes with the block before it. */
const fixingDate = '{% set strftime_now = fixed_date %}\n'

type Json = Readonly<Record<string, unknown>>
type Assets = ReadonlyMap<string, () => Promise<Uint8Array>>

/** How a model writes a conversation as one text. */
export interface ChatTemplate {
  /**
   * The text of `messages`; with `opensAnswer` up to where the model would begin to answer. Throws `CalibrationError` for turns that
   * the template refuses.
   */
  render(messages: readonly Message[], options?: { readonly opensAnswer?: boolean }): string
  /** Texts of the special tokens, one of which ends an answer. */
  readonly specialTokens: ReadonlySet<string>
}

/**
 * The chat template among a model's files; undefined where there is none. Renders as transformers 5.23 does, with two differences: today's date
 * is always 26 July 2024, so that rows do not depend on the day, and where a template refuses a system turn, that turn becomes
 * the beginning of the user's first. Throws `CheckpointError` for a template that cannot be parsed.
 */
export async function loadChatTemplate(assets: Assets): Promise<ChatTemplate | undefined> {
  const source = await chatTemplateOf(assets)
  if (source === undefined) return undefined
  let template: InstanceType<typeof Template>
  try {
    template = new Template(fixingDate + source)
  } catch (cause) {
    throw new CheckpointError(
      `the chat template cannot be parsed (${(cause as Error).message}); give a column of plain texts with --column`,
      { cause },
    )
  }
  const names = {
    ...(await readAsset(assets, 'special_tokens_map.json')),
    ...(await readAsset(assets, 'tokenizer_config.json')),
  }
  const named = Object.fromEntries(
    Object.entries(names).flatMap(([key, value]) => {
      const text = key.endsWith('_token') ? contentOf(value) : undefined
      return text === undefined ? [] : [[key, text]]
    }),
  )
  const render = (messages: readonly Message[], opensAnswer: boolean) =>
    template.render({ ...named, messages, add_generation_prompt: opensAnswer, fixed_date: fixedDate })
  return {
    specialTokens: new Set([...Object.values(named), ...(await addedTokens(assets))]),
    render(messages, { opensAnswer = false } = {}) {
      try {
        return render(messages, opensAnswer)
      } catch (cause) {
        const merged = withoutSystem(messages)
        if (merged !== undefined) {
          try {
            return render(merged, opensAnswer)
          } catch {
            // the first refusal tells more
          }
        }
        const roles = messages.map(({ role }) => role).join(', ')
        throw new CalibrationError(`the chat template refuses the turns ${roles} (${(cause as Error).message})`, {
          cause,
        })
      }
    },
  }
}

/** The system turn put before the user's first; undefined where there is no such turn. */
function withoutSystem([first, second, ...rest]: readonly Message[]): Message[] | undefined {
  if (first?.role !== 'system' || second?.role !== 'user') return undefined
  return [{ role: 'user', content: `${first.content}\n\n${second.content}` }, ...rest]
}

async function addedTokens(assets: Assets): Promise<string[]> {
  const added = (await readAsset(assets, 'tokenizer.json'))?.['added_tokens']
  if (!Array.isArray(added)) return []
  return (added as Json[]).flatMap(({ special, content }) =>
    special === true && typeof content === 'string' ? [content] : [],
  )
}

/** A token written as a string or as an object. */
function contentOf(token: unknown): string | undefined {
  if (typeof token === 'string') return token
  const content = token !== null && typeof token === 'object' ? (token as Json)['content'] : undefined
  return typeof content === 'string' ? content : undefined
}
