import { readFile, stat } from 'node:fs/promises'
import { join } from 'node:path'
import * as z from 'zod'
import { type DeviceName, deviceNames } from '../deviceNames.ts'
import { PlanError } from '../errors.ts'
import { writeFileAtomic } from '../format/atomicFile.ts'
import { type Task, taskNames } from '../model/task.ts'
import type { BlockId, BlockKind, PruningPlan, Score, StackName } from '../types.ts'
import type { CheckedStep } from './guard.ts'

/** What a run was made from. Two runs with equal inputs give equal plans, byte for byte. */
export interface RunInputs {
  readonly model: {
    readonly id: string
    readonly modelType: string
    /** Of config.json and every weight file. */
    readonly sha256: string
    readonly parameters: number
    /** Layers of each stack; plans of the first versions do not say it. */
    readonly layers?: Readonly<Partial<Record<StackName, number>>> | undefined
  }
  readonly method: string
  readonly options: Readonly<Record<string, unknown>>
  readonly calibration: {
    readonly source: string
    readonly rows: number
    readonly rowLength: number
    readonly tokens: number
    readonly bos: 'none' | 'first' | 'every-row'
    readonly sha256: string
    readonly texts?: number | undefined
    readonly seed?: number | undefined
    /** What the rows predict, where it is not the next token. */
    readonly prediction?: string | undefined
    /** Hashes of windows of the text, by which an evaluation knows that it overlaps. */
    readonly fingerprints: readonly string[]
  }
  /** What the model is scored by, where it is not the next token: what `loss` counts is listed in `taskLosses`. */
  readonly task?: Task | undefined
  /** What it was computed on, where that is not the CPU. */
  readonly device?: DeviceName | undefined
  readonly seed: number
  readonly versions: Readonly<Record<string, string>>
}

export interface PlanStep {
  /** Blocks removed in this step. */
  readonly removed: readonly BlockId[]
  /** Blocks of earlier steps that this step put back. */
  readonly restored?: readonly BlockId[] | undefined
  /** Of the model after this step, mean of the rows' means: nats per token, or what the task counts. */
  readonly loss: number
  /** Of a model that predicts the next token: exp(loss). */
  readonly perplexity?: number | undefined
  /** What the method chose by, where it is not `loss`: a distance, an influence; the runner-up's `loss` is of the same kind. */
  readonly score?: number | undefined
  readonly runnerUp?: Score | undefined
  /** Loss of the runner-up minus `score`, or minus `loss` where there is no score. */
  readonly margin?: number | undefined
  /** On rows that the search did not see. */
  readonly check?: CheckedStep | undefined
  /** Left in the model. */
  readonly parameters: number
  /** Share of all parameters removed, 0..1. */
  readonly ratio: number
}

/** What a budget of speed was measured by, in seconds of a pass over `rows` x `rowLength` tokens on the machine of the run. */
export interface Latency {
  readonly rows: number
  readonly rowLength: number
  /** Dense over pruned by the parts that were timed before the search: what the budget was held to. */
  readonly foretold: number
  /** Dense over pruned, both timed whole after it. */
  readonly measured: number
  readonly seconds: { readonly dense: number; readonly pruned: number }
  readonly parts: {
    /** Embedding, norms outside the blocks, head at one position a row. */
    readonly rest: number
    readonly blocks: readonly {
      readonly stack: StackName
      readonly kind: BlockKind
      /** How many have this shape. */
      readonly blocks: number
      readonly secondsOfUnits: readonly (readonly [units: number, seconds: number])[]
    }[]
  }
}

/** `plan.json`: what was removed, in which order, and what it was measured on. */
export interface PlanFile extends RunInputs {
  readonly version: 1
  readonly dense: {
    readonly loss: number
    readonly perplexity?: number | undefined
    readonly check?: { readonly loss: number; readonly perplexity?: number | undefined } | undefined
  }
  readonly steps: readonly PlanStep[]
  /** Where the budget is a speed-up, when the run is complete. */
  readonly latency?: Latency | undefined
  /** What people should know before they use the plan. */
  readonly warnings?: readonly string[] | undefined
  /** False while the run goes on. */
  readonly complete: boolean
  readonly plan: PruningPlan
}

const blockId = z.templateLiteral([
  z.enum(['encoder', 'decoder']),
  '.',
  z.number().int().nonnegative(),
  '.',
  z.enum(['attention', 'crossAttention', 'mlp']),
]) as unknown as z.ZodType<BlockId>
const sha256 = z.string().regex(/^[0-9a-f]{64}$/, 'expected 64 hexadecimal digits')
const score = z.strictObject({
  block: blockId,
  others: z.array(blockId).readonly().optional(),
  loss: z.number(),
  estimated: z.literal(true).optional(),
})

const inputsSchema = z.object({
  model: z.object({
    id: z.string(),
    modelType: z.string(),
    sha256,
    parameters: z.number().int().positive(),
    layers: z.partialRecord(z.enum(['encoder', 'decoder']), z.number().int().nonnegative()).optional(),
  }),
  method: z.string(),
  options: z.record(z.string(), z.json()),
  calibration: z.object({
    source: z.string(),
    rows: z.number().int().positive(),
    rowLength: z.number().int().positive(),
    tokens: z.number().int().positive(),
    bos: z.enum(['none', 'first', 'every-row']),
    sha256,
    texts: z.number().int().positive().optional(),
    seed: z.number().int().optional(),
    prediction: z.string().optional(),
    fingerprints: z.array(z.string()),
  }),
  task: z.enum(taskNames).optional(),
  device: z.enum(deviceNames).optional(),
  seed: z.number().int(),
  versions: z.record(z.string(), z.string()),
})

const stepSchema = z.object({
  removed: z.array(blockId),
  restored: z.array(blockId).optional(),
  loss: z.number(),
  perplexity: z.number().optional(),
  score: z.number().optional(),
  runnerUp: score.optional(),
  margin: z.number().optional(),
  check: z
    .object({
      loss: z.number(),
      perplexity: z.number().optional(),
      runnerUpLoss: z.number().optional(),
      parted: z.literal(true).optional(),
    })
    .optional(),
  parameters: z.number().int().nonnegative(),
  ratio: z.number().min(0).max(1),
})

const latencySchema = z.object({
  rows: z.number().int().positive(),
  rowLength: z.number().int().positive(),
  foretold: z.number(),
  measured: z.number(),
  seconds: z.object({ dense: z.number(), pruned: z.number() }),
  parts: z.object({
    rest: z.number(),
    blocks: z.array(
      z.object({
        stack: z.enum(['encoder', 'decoder']),
        kind: z.enum(['attention', 'crossAttention', 'mlp']),
        blocks: z.number().int().positive(),
        secondsOfUnits: z.array(z.tuple([z.number().int(), z.number()])),
      }),
    ),
  }),
})

const planFileSchema: z.ZodType<PlanFile> = inputsSchema.extend({
  version: z.literal(1),
  dense: z.object({
    loss: z.number(),
    perplexity: z.number().optional(),
    check: z.object({ loss: z.number(), perplexity: z.number().optional() }).optional(),
  }),
  steps: z.array(stepSchema),
  latency: latencySchema.optional(),
  warnings: z.array(z.string()).optional(),
  complete: z.boolean(),
  plan: z.object({
    blocks: z.array(blockId),
    units: z.record(z.string(), z.array(z.number().int().nonnegative())),
    outputNorms: z.enum(['keep', 'drop']).optional(),
    outputBiases: z.record(z.string(), z.base64()).optional(),
  }),
})

/** Blocks that somebody chose, each as `blocksNamed` takes it: `{"blocks": ["decoder.3", "decoder.7.mlp", "decoder.20-24"]}`. */
export interface HandPlan {
  readonly blocks: readonly string[]
  readonly units?: Readonly<Record<string, readonly number[]>> | undefined
  readonly outputNorms?: 'keep' | 'drop' | undefined
}

const handPlanSchema: z.ZodType<HandPlan> = z.strictObject({
  blocks: z.array(z.string()),
  units: z.record(z.string(), z.array(z.number().int().nonnegative())).optional(),
  outputNorms: z.enum(['keep', 'drop']).optional(),
})

/** Reads and checks the plan.json of a run, or of a run directory. Throws `PlanError` naming the path of what is wrong. */
export async function readPlanFile(path: string): Promise<PlanFile> {
  const { file } = await readPlan(path)
  if (file !== undefined) return file
  throw new PlanError(`${path}: was written by hand, expected the plan.json of a run, which tells its steps`)
}

/** `readPlanFile` that takes a plan written by hand as well. */
export async function readPlan(
  path: string,
): Promise<
  { readonly file: PlanFile; readonly hand?: undefined } | { readonly file?: undefined; readonly hand: HandPlan }
> {
  const isFolder = await stat(path).then(
    (found) => found.isDirectory(),
    () => false,
  )
  const json = await readJson(isFolder ? join(path, 'plan.json') : path)
  // only what a run wrote says its version
  const isHand = json !== null && typeof json === 'object' && 'blocks' in json && !('version' in json)
  if (isHand) return { hand: checked(handPlanSchema, json, path, '{"blocks": ["decoder.3", …]}, written by hand') }
  return { file: checked(planFileSchema, json, path, 'a plan.json of blockpruner, version 1') }
}

function checked<T>(schema: z.ZodType<T>, json: unknown, path: string, expected: string): T {
  const result = schema.safeParse(json)
  if (result.success) return result.data
  const issue = result.error.issues[0]!
  throw new PlanError(`${path}: ${issue.path.join('.') || 'top level'}: ${issue.message}; expected ${expected}`)
}

async function readJson(path: string): Promise<unknown> {
  let text: string
  try {
    text = await readFile(path, 'utf8')
  } catch (cause) {
    throw new PlanError(`${path}: cannot be read (${(cause as Error).message}); is the path right?`, { cause })
  }
  try {
    return JSON.parse(text)
  } catch (cause) {
    throw new PlanError(`${path}: is not JSON (${(cause as Error).message}); expected a plan.json of blockpruner`, {
      cause,
    })
  }
}

/** Writes plan.json whole or not at all. Equal plans give equal bytes. */
export async function writePlanFile(path: string, file: PlanFile): Promise<void> {
  await writeFileAtomic(path, `${JSON.stringify(file, null, 2)}\n`)
}
