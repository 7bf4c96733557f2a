import { readFile } from 'node:fs/promises'
import * as z from 'zod'
import { PlanError } from '../errors.ts'
import { writeFileAtomic } from '../format/atomicFile.ts'
import { type Task, taskNames } from '../model/task.ts'
import type { PlanFile } from './planFile.ts'

/** The loss after one step of a plan. */
export interface CurveFilePoint {
  /** Steps of the plan that were taken; 0 is the dense model. */
  readonly step: number
  /** Blocks removed in this step. */
  readonly removed: readonly string[]
  /** Left in the model. */
  readonly parameters: number
  /** Share of all parameters removed, 0..1. */
  readonly ratio: number
  /** Mean of the rows' means: nats per token, or what the task counts. */
  readonly loss: number
  /** Of a model that predicts the next token: exp(loss). */
  readonly perplexity?: number | undefined
  /** Of the mean over rows; absent for a single row. */
  readonly standardError?: number | undefined
}

/** The loss of a text after every step of a plan, and what made the numbers. */
export interface CurveFile {
  readonly version: 1
  readonly model: { readonly id: string; readonly sha256: string; readonly parameters: number }
  readonly method: string
  readonly task: Task
  /** What the numbers were measured on. */
  readonly text: Omit<PlanFile['calibration'], 'texts' | 'seed' | 'fingerprints'>
  /** False where the text overlaps the calibration text; absent where that cannot be told. */
  readonly heldOut?: boolean | undefined
  readonly points: readonly CurveFilePoint[]
  readonly versions: Readonly<Record<string, string>>
}

// the types stand by themselves: those of zod need names of the browser, which a consumer need not have
const pointSchema: z.ZodType<CurveFilePoint> = z.object({
  step: z.number().int().nonnegative(),
  removed: z.array(z.string()),
  parameters: z.number().int().nonnegative(),
  ratio: z.number(),
  loss: z.number(),
  perplexity: z.number().optional(),
  standardError: z.number().optional(),
})

const curveSchema: z.ZodType<CurveFile> = z.object({
  version: z.literal(1),
  model: z.object({ id: z.string(), sha256: z.string(), parameters: z.number().int().positive() }),
  method: z.string(),
  task: z.enum(taskNames),
  text: z.object({
    source: z.string(),
    rows: z.number().int().positive(),
    rowLength: z.number().int().positive(),
    tokens: z.number().int().positive(),
    bos: z.enum(['none', 'first', 'every-row']),
    sha256: z.string(),
    prediction: z.string().optional(),
  }),
  heldOut: z.boolean().optional(),
  points: z.array(pointSchema).min(1),
  versions: z.record(z.string(), z.string()),
})

/** The name of the file for a text, beside plan.json: `curve-brown-test.json`. */
export function curveName(source: string): string {
  const base = source.split('/').at(-1) ?? source
  return `curve-${base.replace(/[^\w.-]+/g, '-')}.json`
}

/** Whether a file of this name is a curve. */
export const isCurveName = (name: string): boolean => /^curve-.+\.json$/.test(name)

/** Reads and checks a curve. Throws `PlanError` naming the path of what is wrong. */
export async function readCurveFile(path: string): Promise<CurveFile> {
  let json: unknown
  try {
    json = JSON.parse(await readFile(path, 'utf8'))
  } catch (cause) {
    throw new PlanError(`${path}: cannot be read as JSON (${(cause as Error).message}); measure it again`, { cause })
  }
  const result = curveSchema.safeParse(json)
  if (result.success) return result.data
  const issue = result.error.issues[0]!
  throw new PlanError(
    `${path}: ${issue.path.join('.') || 'top level'}: ${issue.message}; expected a curve of evaluate --curve, version 1`,
  )
}

/** Writes a curve whole or not at all. */
export async function writeCurveFile(path: string, file: CurveFile): Promise<void> {
  await writeFileAtomic(path, `${JSON.stringify(file, null, 2)}\n`)
}
