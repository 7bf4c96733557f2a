import { readFile } from 'node:fs/promises'
import * as z from 'zod'
import { PlanError } from '../errors.ts'
import { writeFileAtomic } from '../format/atomicFile.ts'
import { taskNames } from '../model/task.ts'

const pointSchema = z.object({
  /** Steps of the plan that were taken; 0 is the dense model. */
  step: z.number().int().nonnegative(),
  /** Blocks removed in this step. */
  removed: z.array(z.string()),
  /** Left in the model. */
  parameters: z.number().int().nonnegative(),
  /** Share of all parameters removed, 0..1. */
  ratio: z.number(),
  /** Mean of the rows' means: nats per token, or what the task counts. */
  loss: z.number(),
  /** Of a model that predicts the next token: exp(loss). */
  perplexity: z.number().optional(),
  /** Of the mean over rows; absent for a single row. */
  standardError: z.number().optional(),
})

const curveSchema = z.object({
  version: z.literal(1),
  model: z.object({ id: z.string(), sha256: z.string(), parameters: z.number().int().positive() }),
  method: z.string(),
  task: z.enum(taskNames),
  /** What the numbers were measured on. */
  text: z.object({
    source: z.string(),
    rows: z.number().int().positive(),
    rowLength: z.number().int().positive(),
    tokens: z.number().int().positive(),
    bos: z.enum(['none', 'first', 'every-row']),
    sha256: z.string(),
    prediction: z.string().optional(),
  }),
  /** False where the text overlaps the calibration text; absent where that cannot be told. */
  heldOut: z.boolean().optional(),
  points: z.array(pointSchema).min(1),
  versions: z.record(z.string(), z.string()),
})

/** The loss of a text after every step of a plan, and what made the numbers. */
export type CurveFile = z.infer<typeof curveSchema>
export type CurvePoint = z.infer<typeof pointSchema>

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
