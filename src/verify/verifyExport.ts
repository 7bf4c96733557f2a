import { openEngine } from '../engine/threadEngine.ts'
import { CalibrationError } from '../errors.ts'
import type { Engine } from '../measures/measurement.ts'
import type { Model } from '../model/model.ts'
import type { PruningPlan, TokenRows } from '../types.ts'
import { type Agreement, type AgreementLimit, agreementOf, isWithin } from './agreement.ts'
import { type ContentsOptions, checkContents, describeContents } from './checkContents.ts'
import type { Consumer, Scored } from './consumer.ts'
import { exportedFiles } from './exportedFiles.ts'
import { bitsOf, consumerLimits, deviceLimit, ownLimit, type StoredPrecision } from './limits.ts'
import { llamaCpp } from './llamaCpp.ts'
import { mlxLm } from './mlxLm.ts'
import { checkOwnCode } from './ownCode.ts'
import { ownReader, predictStored } from './ownReader.ts'
import { predict, predictionsOf } from './predictions.ts'
import { transformersJs } from './transformersJs.ts'
import { transformersPython } from './transformersPython.ts'
import { vllm } from './vllm.ts'

export interface VerifyOptions extends ContentsOptions {
  /** The engine that evaluates the plan; absent: one is opened for `model` and closed again. */
  readonly engine?: Engine | undefined
  /** What the plan predicts on `rows`, where it was evaluated before; then no engine is needed. */
  readonly logits?: Float32Array | undefined
  /** Folders in whose node_modules consumers are looked for, before the package's own and the current one. */
  readonly modulesFrom?: readonly string[] | undefined
  /** Called with a line about what is stored, when that was found to be the plan's. */
  readonly onContents?: ((line: string) => void) | undefined
  /** Called as soon as a consumer has answered. */
  readonly onResult?: ((result: ConsumerResult) => void) | undefined
}

export interface ConsumerResult {
  readonly consumer: string
  readonly precision: StoredPrecision
  /** `rounded`: as near to the plan as weights of so few bits are, and not equal to it. */
  readonly status: 'agrees' | 'rounded' | 'disagrees' | 'failed' | 'skipped'
  /** Version, or why it was skipped or failed. */
  readonly detail: string
  /** With our engine: of the weights as they are stored, where it can read them; else of the plan. */
  readonly agreement?: Agreement
  /** Of the stored weights with the plan's, where they were rounded and our engine reads them. */
  readonly rounding?: Agreement
  readonly limit: AgreementLimit
}

/**
 * Checks that the export at `path` is that of `plan` (`checkContents`), then opens it in every consumer of its format that is
 * installed, and compares what they predict on `rows` (next, target or masked tokens, classes, or the states of an encoder without
 * a head) with our engine. Consumers that can abort run in processes of their own. The results come in the order the consumers are
 * listed; those not installed are among them, as skipped. Throws `OutputError` for a path that is no export, or not that of the plan.
 */
export async function verifyExport(
  path: string,
  model: Model,
  plan: PruningPlan,
  rows: TokenRows,
  options: VerifyOptions = {},
): Promise<ConsumerResult[]> {
  const files = await exportedFiles(path)
  const { format, variants, context, names } = files
  if (format === 'huggingface' || format === 'nemotron') await checkOwnCode(path, names, format, model, plan)
  if (rows.rowLength > context) {
    throw new CalibrationError(
      `${path}: reads at most ${context} tokens, expected rows no longer, found ${rows.rowLength}; verify with shorter rows`,
    )
  }
  const contents = await checkContents(path, model, plan, options, files)
  options.onContents?.(describeContents(contents))
  const asked = consumers.filter(({ formats }) => formats.includes(format))
  if (asked.length === 0) return []
  const { kind: prediction, width } = predictionsOf(model)
  const planned = options.logits ?? (await evaluated(model, plan, rows, options.engine))
  const { weights } = contents
  const isRounded = weights !== undefined && weights.rounded + weights.near > 0
  const stored = weights === undefined ? planned : await predictStored(path, model, plan, weights.names, rows)
  const planning = agreementOf(planned, stored, width)
  const results: ConsumerResult[] = []
  for (const consumer of asked) {
    for (const precision of variants) {
      const dtype = format === 'onnx' ? precision : undefined
      const { modulesFrom = [] } = options
      const scored = await consumer.score({ path, dtype, rows, prediction, width, modulesFrom })
      const answer = resultOf(consumer, precision, scored, stored, width)
      const result = consumer === ownReader ? withPlanning(answer, planning, isRounded) : answer
      results.push(result)
      options.onResult?.(result)
    }
  }
  return results
}

/** The answer of our own reader with how far the stored weights are from the plan: by rounding, or by the device that evaluated it. */
function withPlanning(result: ConsumerResult, planning: Agreement, isRounded: boolean): ConsumerResult {
  if (isRounded) return { ...result, rounding: planning }
  if (result.status !== 'agrees' || isWithin(planning, deviceLimit)) return result
  return { ...result, status: 'disagrees', agreement: planning, limit: deviceLimit }
}

function resultOf(
  consumer: Consumer,
  precision: StoredPrecision,
  scored: Scored,
  expected: Float32Array,
  width: number,
): ConsumerResult {
  const limit = consumer === ownReader ? ownLimit : consumerLimits[precision]
  const about = { consumer: consumer.name, precision, limit }
  if ('skipped' in scored) return { ...about, status: 'skipped', detail: scored.skipped }
  if ('failed' in scored) return { ...about, status: 'failed', detail: scored.failed }
  const agreement = agreementOf(expected, scored.logits, width)
  const near = ['fp16', 'q8', 'q4'].includes(precision) ? 'rounded' : 'agrees'
  const status = isWithin(agreement, limit) ? near : 'disagrees'
  return { ...about, status, detail: scored.version, agreement }
}

async function evaluated(model: Model, plan: PruningPlan, rows: TokenRows, open: Engine | undefined) {
  const engine = open ?? openEngine(model)
  try {
    return await predict(model, engine, rows, plan)
  } finally {
    if (open === undefined) await engine.close()
  }
}

const consumers: readonly Consumer[] = [ownReader, llamaCpp, transformersJs, transformersPython, mlxLm, vllm]

/** Whether a consumer's answer speaks against an export. */
export function isWrong({ status }: ConsumerResult): boolean {
  return status === 'disagrees' || status === 'failed'
}

/** One line for people: `llama.cpp … F32: agrees, top-1 100.0 %, KL 1.2e-9 nats over 256 positions`. */
export function describeResult(result: ConsumerResult): string {
  const { consumer, precision, status, detail, agreement, rounding, limit } = result
  if (agreement === undefined) return `${consumer} ${precision}: ${status}: ${detail}`
  const bits = bitsOf[precision]
  const within = `within ${bits === undefined ? 'the' : `${bits}-bit`} rounding of the plan, not equal to it`
  const said = status === 'rounded' ? within : status
  const expected =
    status === 'disagrees'
      ? `, expected at least ${+(100 * limit.topOne).toFixed(1)} % and at most ${limit.meanKl}`
      : ''
  const stored = rounding === undefined ? '' : `; the weights as stored are ${within}: ${figures(rounding)}`
  return `${consumer} ${detail} ${precision}: ${said}, ${figures(agreement)}${expected}${stored}`
}

const figures = ({ topOne, meanKl, positions }: Agreement): string =>
  `top-1 ${(100 * topOne).toFixed(1)} %, mean KL ${meanKl.toExponential(1)} nats over ${positions} positions`
