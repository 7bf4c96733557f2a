import { type Command, InvalidArgumentError, Option } from 'commander'
import type { LossOn } from '../data/conversationRows.ts'
import { type DeviceChoice, deviceChoices } from '../deviceNames.ts'
import { type Task, taskNames } from '../model/task.ts'
import { suggestionFor } from '../nearestName.ts'
import type { RowsRequest } from '../run/calibrate.ts'

/** Options that more than one command has, parsed the same way everywhere. */
export interface SharedOptions {
  readonly model: string
  readonly revision?: string
  readonly threads?: number
  readonly maxMemory?: number
  readonly device?: DeviceChoice
  readonly json?: true
  readonly quiet?: true
  readonly debug?: true
}

export function withModelOptions(command: Command): Command {
  return command
    .option('--model <id|folder|file.gguf>', 'hub id, folder or GGUF file', 'embedded')
    .option('--revision <rev>', 'branch, tag or commit of a hub id')
    .option('--threads <n>', 'threads (default: physical cores)', count)
    .addOption(
      new Option(
        '--device <name>',
        'what computes: cpu (default), webgpu, cuda, or auto: the fastest that agrees with the CPU',
      ).choices(deviceChoices),
    )
    .option(
      '--max-memory <size>',
      'for weights and states: 6GB, 800MB (default: what is free, less a margin)',
      byteCount,
    )
}

export function withOutputOptions(command: Command): Command {
  return command
    .option('--json', 'print one JSON result on stdout, everything else on stderr')
    .option('--quiet', 'no progress')
    .option('--debug', 'print the stack of an error')
}

/** What the text options give. */
export interface TextOptions {
  readonly dataset: string
  readonly tokens?: string
  readonly column?: string
  readonly nsamples?: number
  readonly seqlen: number
  readonly texts?: number
  readonly seed: number
  readonly bosEveryRow?: true
  readonly lossOn?: LossOn
  readonly task?: Task
  readonly targetColumn?: string
  readonly labelColumn?: string
}

export function withTextOptions(command: Command, defaults: { dataset: string; nsamples: number }): Command {
  return command
    .option(
      '--dataset <source>',
      'text, json, jsonl, csv, tsv or parquet file; hub data set id:split; wikitext2:test, alpaca, c4, ptb',
      defaults.dataset,
    )
    .option('--column <name>', 'column of the text (default: text)')
    .option('--tokens <file.json>', 'ready token ids {"ids": [...]} instead of --dataset')
    .addOption(
      new Option('--nsamples <n>', `packed rows (default: ${defaults.nsamples}, or all with --texts)`).argParser(count),
    )
    .option('--seqlen <t>', 'tokens a row', count, 256)
    .option('--texts <n>', 'draw this many texts with the seed and pack them', count)
    .addOption(
      new Option('--task <name>', 'what the model is scored by (default: what its head predicts)').choices(taskNames),
    )
    .option('--target-column <name>', 'target column of pairs (default: target)')
    .option('--label-column <name>', 'label column of labelled texts (default: label)')
    .addOption(
      new Option('--loss-on <what>', 'of conversations: every token, or those of the answers (default: all)').choices([
        'all',
        'answers',
      ]),
    )
    .option('--bos-every-row', 'begin every row with the BOS token')
    .option('--seed <n>', 'seed of every random choice', wholeNumber, 42)
}

/** The rows that the text options ask for. */
export function rowsRequest(options: TextOptions, defaultRows: number): RowsRequest {
  const { dataset, tokens, column, seqlen, texts, seed, bosEveryRow, lossOn, task, targetColumn, labelColumn } = options
  const nsamples = options.nsamples ?? (texts === undefined ? defaultRows : undefined)
  return {
    dataset,
    tokens,
    column,
    seqlen,
    texts,
    seed,
    bosEveryRow,
    lossOn,
    nsamples,
    task,
    targetColumn,
    labelColumn,
  }
}

export function wholeNumber(text: string): number {
  const value = Number(text)
  if (!/^\d+$/.test(text) || !Number.isSafeInteger(value)) throw new InvalidArgumentError('Expected a whole number.')
  return value
}

/** A whole number of at least 1. */
export function count(text: string): number {
  const value = wholeNumber(text)
  if (value === 0) throw new InvalidArgumentError('Expected at least 1.')
  return value
}

export function decimalNumber(text: string): number {
  const value = Number(text)
  if (text.trim() === '' || !Number.isFinite(value)) throw new InvalidArgumentError('Expected a number.')
  return value
}

/** A parser for one of the names in `known`. */
export function oneOf<Name extends string>(known: readonly Name[]): (text: string) => Name {
  return (text) => {
    const found = known.find((name) => name === text.trim())
    if (found !== undefined) return found
    throw new InvalidArgumentError(`"${text}" is not one of ${known.join(', ')}${suggestionFor(text, known)}`)
  }
}

/** A parser for comma-separated names out of `known`. */
export function listOf<Name extends string>(known: readonly Name[]): (text: string) => Name[] {
  return (text) => text.split(',').map(oneOf(known))
}

const unitBytes: Readonly<Record<string, number>> = {
  '': 1,
  ...{ K: 1e3, M: 1e6, G: 1e9, T: 1e12 },
  ...{ KI: 2 ** 10, MI: 2 ** 20, GI: 2 ** 30, TI: 2 ** 40 },
}

/** A size of memory in bytes: `6GB`, `800MiB`, `1.5g`. */
function byteCount(text: string): number {
  const [, number, unit = ''] = /^(\d+(?:\.\d+)?)\s*(?:([kmgt]i?)?b?)$/i.exec(text.trim()) ?? []
  const bytes = number === undefined ? 0 : Number(number) * unitBytes[unit.toUpperCase()]!
  if (bytes > 0 && Number.isFinite(bytes)) return Math.floor(bytes)
  throw new InvalidArgumentError('expected a size such as 6GB, 800MB or 1.5GiB')
}

/** Tells on stderr what computes. */
export const onDevice = (text: string): void => void process.stderr.write(`device: ${text}\n`)
