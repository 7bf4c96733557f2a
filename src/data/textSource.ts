import { CalibrationError } from '../errors.ts'
import { noColumn, stringOf } from './columnText.ts'
import { type ConversationColumns, conversationsAmong, conversationsIn } from './conversation.ts'
import type { Conversations } from './conversationRows.ts'
import { type Columns, readTable, type Table, type TableOptions } from './table.ts'

/** Texts and what they are called: data set, configuration and split are part of the name. */
export interface Texts {
  readonly name: string
  readonly texts: readonly string[]
}

export interface TextOptions extends Omit<TableOptions, 'limit'> {
  /** Column or key that holds the text; unless given `text`, or what holds conversations. */
  readonly column?: string
}

/**
 * The texts of a source, which is what `readTable` takes; prompts and Alpaca's rows with their answers. Throws `CalibrationError`
 * for a source that is not there, an unknown column, split or configuration, for conversations of turns, and for a source without
 * text.
 */
export async function readTexts(source: string, options: TextOptions = {}): Promise<Texts> {
  const found = await readExamples(source, options)
  if ('texts' in found) return found
  const texts = plainTexts(found)
  if (texts !== undefined) return texts
  throw new CalibrationError(
    `${source}: holds conversations, which a model that predicts the next token reads by its chat template; name a column of plain texts with --column`,
  )
}

/** Conversations of prompt and answer as plain texts; undefined where one has several turns. */
export function plainTexts({ name, conversations }: Conversations): Texts | undefined {
  const texts = conversations.flatMap(({ plain }) => (plain === undefined ? [] : [plain.prompt + plain.answer]))
  return texts.length < conversations.length ? undefined : { name, texts }
}

/** The texts or the conversations of a source, by the columns it has. Throws `CalibrationError` as `readTexts`. */
export async function readExamples(
  source: string,
  { column, ...options }: TextOptions = {},
): Promise<Texts | Conversations> {
  let chosen: Chosen | undefined
  const table = await readTable(
    source,
    (columns) => {
      chosen = chooseColumns(columns, column)
      return typeof chosen === 'string' ? [chosen] : chosen.columns
    },
    options,
  )
  if (chosen === undefined || table.rows.length === 0) throw noText(source, table.rows.length)
  if (typeof chosen !== 'string') return conversationsOf(source, table, chosen)
  const isTurns = Array.isArray(table.rows[0]![chosen])
  return isTurns ? conversationsOf(source, table, conversationsIn(chosen)) : textsOf(source, table, chosen)
}

/** A column of texts or turns, or columns that together are a conversation. */
type Chosen = string | ConversationColumns

/** The column that is asked for, else `text`, else conversations. */
function chooseColumns(available: Columns, asked: string | undefined): Chosen {
  const { source, names, isPlainText, textColumn = 'text' } = available
  const name = asked ?? textColumn
  if (isPlainText && asked !== undefined) {
    throw new CalibrationError(`${source}: is read as plain text, which has no column "${name}"; leave --column out`)
  }
  if (names.includes(name)) return name
  const conversations = asked === undefined ? conversationsAmong(names) : undefined
  if (conversations !== undefined) return conversations
  throw noColumn(available, name, '--column')
}

function textsOf(source: string, { name, rows, place }: Table, column: string): Texts {
  const texts = rows.map((row, index) => {
    const text = column in row ? stringOf(row[column]) : undefined
    if (text !== undefined) return text
    const found = column in row ? `no string in "${column}"` : `no "${column}"`
    throw new CalibrationError(`${source}: ${place(index)} has ${found}; name another column with --column`)
  })
  if (texts.some((text) => /\S/.test(text))) return { name, texts }
  throw noText(source, texts.length)
}

function conversationsOf(source: string, table: Table, { columns, conversation }: ConversationColumns): Conversations {
  const conversations = table.rows.map((row, index) => {
    const found = conversation(row)
    if (found !== undefined) return found
    throw new CalibrationError(
      `${source}: ${table.place(index)} has no conversation in "${columns.join('", "')}", expected texts, or lists of turns {"role": …, "content": …} or {"from": …, "value": …}; name another column with --column`,
    )
  })
  return { name: table.name, conversations, place: table.place }
}

function noText(source: string, entries: number): CalibrationError {
  return new CalibrationError(`${source}: has no text in its ${entries} entries; is the column right?`)
}
