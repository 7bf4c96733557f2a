import { closeSync, fsyncSync, ftruncateSync, openSync, readFileSync, writeSync } from 'node:fs'
import { isDeepStrictEqual } from 'node:util'
import * as z from 'zod'
import { OutputError } from '../errors.ts'
import type { RowsId } from '../measures/measurement.ts'
import { biasDigest } from '../model/outputBias.ts'
import { planKey, withBiasDigest } from '../model/plan.ts'
import type { BlockId, PruningPlan } from '../types.ts'

/** What was asked of each plan: a measurement without its plans, or what a run measures in its own way, by name. */
export interface JournalKey {
  readonly measure: string | { readonly name: string }
  readonly rows?: RowsId | undefined
  readonly range?: readonly [start: number, end: number] | undefined
}

/**
 * Every evaluated plan of a run, one JSON line each, on disk before it counts. A killed run reads it back and evaluates nothing
 * twice.
 */
export interface Journal {
  /** What was measured of `plan`, undefined when it was not yet. */
  recall(asked: JournalKey, plan: PruningPlan): Float64Array | undefined
  /** Appends and syncs; returns when the line is on disk. */
  append(asked: JournalKey, plan: PruningPlan, values: Float64Array): void
  /** Evaluations read back when the journal was opened. */
  readonly recalled: number
  close(): void
}

// JSON has no NaN and no infinity: they are written as strings
const lossSchema = z.union([z.number(), z.enum(['NaN', 'Infinity', '-Infinity'])])
const headerSchema = z.object({ version: z.literal(2), inputs: z.unknown() })
const entrySchema = z.object({
  measure: z.union([z.string(), z.looseObject({ name: z.string() })]),
  rows: z.string().optional(),
  range: z.tuple([z.number(), z.number()]).optional(),
  blocks: z.array(z.string()),
  units: z.record(z.string(), z.array(z.number())).optional(),
  outputNorms: z.enum(['keep', 'drop']).optional(),
  /** Of the biases that the plan adds. */
  biases: z.string().optional(),
  values: z.array(lossSchema),
})

/**
 * Opens the journal at `path` for a run made from `inputs`, or starts it. A last line without its newline was cut by a kill and is
 * dropped. `comparable` is what of the inputs the evaluations depend on: runs that differ in the rest share a journal. Throws `OutputError` when the journal holds evaluations of other inputs, naming what differs, or is damaged.
 */
export function openJournal(
  path: string,
  inputs: unknown,
  comparable: (inputs: unknown) => unknown = (all) => all,
): Journal {
  let file: number
  try {
    file = openSync(path, 'a+')
  } catch (cause) {
    throw new OutputError(`${path}: cannot be written (${(cause as Error).message}); is the folder writable?`, {
      cause,
    })
  }
  const text = readFileSync(path, 'utf8')
  const whole = text.slice(0, text.lastIndexOf('\n') + 1)
  if (whole.length < text.length) ftruncateSync(file, Buffer.byteLength(whole))
  const [header, ...lines] = whole.split('\n').slice(0, -1)
  const known = new Map<string, Float64Array>()
  const expected = JSON.parse(JSON.stringify({ version: 2, inputs }))
  try {
    const found = header === undefined ? undefined : parseLine(path, 1, header)
    // a run that ended before it evaluated anything leaves nothing to lose
    const isEmpty = lines.length === 0 && (found === undefined || headerSchema.safeParse(found).success)
    if (isEmpty && !isDeepStrictEqual(found, expected)) {
      ftruncateSync(file, 0)
      appendLine(file, expected)
    } else if (headerSchema.safeParse(found).success) {
      const parts = [found, expected].map((header) => comparable((header as { inputs: unknown }).inputs))
      checkHeader(path, parts[0], parts[1])
    } else checkHeader(path, found, expected)
    for (const [i, line] of lines.entries()) {
      const entry = entrySchema.safeParse(parseLine(path, i + 2, line))
      if (!entry.success) throw damaged(path, i + 2)
      const { measure, rows, range, blocks, units = {}, outputNorms, biases, values } = entry.data
      const key = withBiasDigest(
        keyOf({ measure, rows, range }, { blocks: blocks as BlockId[], units, outputNorms }),
        biases,
      )
      known.set(key, Float64Array.from(values, Number))
    }
  } catch (error) {
    closeSync(file)
    throw error
  }
  return {
    recalled: known.size,
    recall: (asked, plan) => known.get(keyOf(asked, plan)),
    append({ measure, rows, range }, plan, values) {
      const units = Object.keys(plan.units).length > 0 ? { units: plan.units } : {}
      const norms = plan.outputNorms && { outputNorms: plan.outputNorms }
      const biases = biasDigest(plan)
      const written = Array.from(values, (value) => (Number.isFinite(value) ? value : String(value)))
      appendLine(file, {
        measure,
        rows,
        range,
        blocks: plan.blocks,
        ...units,
        ...norms,
        ...(biases && { biases }),
        values: written,
      })
      known.set(keyOf({ measure, rows, range }, plan), values)
    },
    close: () => closeSync(file),
  }
}

function keyOf({ measure, rows, range }: JournalKey, plan: PruningPlan): string {
  return `${JSON.stringify({ measure, rows, range })} ${planKey(plan)}`
}

function appendLine(file: number, value: unknown): void {
  const bytes = Buffer.from(`${JSON.stringify(value)}\n`)
  try {
    for (let done = 0; done < bytes.length; ) done += writeSync(file, bytes, done)
    fsyncSync(file)
  } catch (cause) {
    throw new OutputError(`journal.jsonl: cannot be written (${(cause as Error).message}); is the disk full?`, {
      cause,
    })
  }
}

function parseLine(path: string, line: number, text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    throw damaged(path, line)
  }
}

function damaged(path: string, line: number): OutputError {
  return new OutputError(
    `${path}: line ${line} is damaged, expected one evaluation as JSON; use another --output, or delete this run`,
  )
}

function checkHeader(path: string, found: unknown, expected: unknown): void {
  if (isDeepStrictEqual(found, expected)) return
  const differences = differingPaths(found, expected)
  const shown = differences.slice(0, 5).map(({ at, here, there }) => `${at} is ${here} there and ${there} now`)
  const more = differences.length > 5 ? ` and ${differences.length - 5} more` : ''
  throw new OutputError(
    `${path}: belongs to a run with other inputs: ${shown.join('; ')}${more}; use another --output, or the same inputs to resume`,
  )
}

function differingPaths(a: unknown, b: unknown, at = ''): { at: string; here: string; there: string }[] {
  if (isDeepStrictEqual(a, b)) return []
  const isObject = (value: unknown): value is Record<string, unknown> =>
    typeof value === 'object' && value !== null && !Array.isArray(value)
  if (isObject(a) && isObject(b)) {
    const keys = [...new Set([...Object.keys(a), ...Object.keys(b)])]
    return keys.flatMap((key) => differingPaths(a[key], b[key], at === '' ? key : `${at}.${key}`))
  }
  const show = (value: unknown) => (JSON.stringify(value) ?? 'absent').slice(0, 60)
  return [{ at: at.replace(/^inputs\./, ''), here: show(a), there: show(b) }]
}
