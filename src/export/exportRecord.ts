import { createHash } from 'node:crypto'
import { createRequire } from 'node:module'
import * as z from 'zod'
import type { GgufValue } from '../format/gguf/ggufValue.ts'
import { contentHash } from '../model/contentHash.ts'
import type { Model } from '../model/model.ts'
import { planKey } from '../model/plan.ts'
import type { ModelConfig, PruningPlan } from '../types.ts'
import { withPublicNames } from './publicName.ts'

/** What an export says of its making, in the metadata of every format: by it `verify` knows a file of another plan or model. */
export interface ExportRecord {
  /** Of what is left out, whatever the order: 64 hexadecimal digits. */
  readonly planSha256: string
  /** Of the dense model's config and weight files. */
  readonly sourceSha256: string
  /** Of this package. */
  readonly version: string
}

const require = createRequire(import.meta.url)

/** The record of an export that is written now. Reads the weight files of `model` once. */
export async function exportRecord(model: Model, plan: PruningPlan): Promise<ExportRecord> {
  const { version } = require('../../package.json') as { version: string }
  const planSha256 = planHash(plan, model.applied)
  return { planSha256, sourceSha256: await contentHash(model), version }
}

/** Of a plan for a model to which `applied` were applied before: where they take whole blocks, of all of these together. */
export function planHash(plan: PruningPlan, applied: readonly PruningPlan[] = []): string {
  const plans = [...applied, plan]
  // units are numbered among those that the plan before left
  const isBlocks = plans.every(
    ({ units, outputBiases = {} }) => Object.keys({ ...units, ...outputBiases }).length === 0,
  )
  const keys = isBlocks ? [planKey({ ...plan, blocks: plans.flatMap(({ blocks }) => blocks) })] : plans.map(planKey)
  return createHash('sha256').update(keys.join('\n')).digest('hex')
}

/** The key of config.json that holds a record. */
const configKey = 'blockpruner'

const hash = z.string().regex(/^[0-9a-f]{64}$/)
const recordSchema = z.object({ plan_sha256: hash, source_sha256: hash, version: z.string() })

/** The record as names and texts, which every format can hold. */
function entriesOf({ planSha256, sourceSha256, version }: ExportRecord): z.infer<typeof recordSchema> {
  return { plan_sha256: planSha256, source_sha256: sourceSha256, version }
}

function parsed(found: unknown): ExportRecord | undefined {
  const { data } = recordSchema.safeParse(found)
  return data && { planSha256: data.plan_sha256, sourceSha256: data.source_sha256, version: data.version }
}

/** `config` as it is published: with the record in the place of any other (the dense model may have been an export itself). */
export function withRecord(config: ModelConfig, record: ExportRecord): ModelConfig {
  return { ...withPublicNames(config), [configKey]: entriesOf(record) }
}

/** The record in a config.json; undefined where there is none, or no whole one. */
export function recordInConfig(config: ModelConfig): ExportRecord | undefined {
  return parsed(config[configKey])
}

/** The record as text entries of a GGUF or ONNX file. */
export function recordEntries(record: ExportRecord): [key: string, value: string][] {
  return Object.entries(entriesOf(record)).map(([key, value]) => [`${configKey}.${key}`, value])
}

/** The record among text entries. */
export function recordInEntries(get: (key: string) => unknown): ExportRecord | undefined {
  return parsed(Object.fromEntries(Object.keys(recordSchema.shape).map((key) => [key, get(`${configKey}.${key}`)])))
}

/** The record as metadata of a GGUF file. */
export function recordMetadata(record: ExportRecord): [key: string, value: GgufValue][] {
  return recordEntries(record).map(([key, value]) => [key, { type: 'string', value }])
}
