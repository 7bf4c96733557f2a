import { readdir, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { openEngine } from '../engine/engine.ts'
import { CalibrationError, OutputError } from '../errors.ts'
import { decilmModule } from '../export/nemotron.ts'
import { openGgufFile } from '../format/gguf/openGgufFile.ts'
import type { Model } from '../model/model.ts'
import type { Engine, PruningPlan, TokenRows } from '../types.ts'
import { type Agreement, type AgreementLimit, agreementOf, isWithin } from './agreement.ts'
import type { Consumer, ExportFormat } from './consumer.ts'
import { llamaCpp } from './llamaCpp.ts'
import { mlxLm } from './mlxLm.ts'
import { checkOwnCode } from './ownCode.ts'
import { ownReader } from './ownReader.ts'
import { predict, predictionsOf } from './predictions.ts'
import { transformersJs } from './transformersJs.ts'
import { transformersPython } from './transformersPython.ts'
import { vllm } from './vllm.ts'

/** How the matrices of an export are stored, as far as agreement depends on it. */
export type StoredPrecision = 'F32' | 'F16' | 'BF16' | 'Q8_0' | 'Q4_0' | 'fp32' | 'fp16' | 'q8' | 'q4' | 'mixed'

/**
 * What counts as the same model. float32 is the proof that nothing is wired wrongly: what is left is the order of sums
 * (measured: at most 3e-11 nats). The others only bound what rounding does; the largest seen, on SmolLM2-135M or the
 * embedded model, stands behind. llama.cpp and MatMulNBits round the inputs of quantised products as well.
 */
export const agreementLimits: Readonly<Record<StoredPrecision, AgreementLimit>> = {
  F32: { topOne: 0.99, meanKl: 1e-4 },
  fp32: { topOne: 0.99, meanKl: 1e-4 },
  F16: { topOne: 0.97, meanKl: 1e-3 }, // 8e-6
  fp16: { topOne: 0.97, meanKl: 1e-3 }, // 7e-6
  BF16: { topOne: 0.95, meanKl: 5e-3 }, // 4e-4
  Q8_0: { topOne: 0.7, meanKl: 0.1 }, // 6e-2, of SmolLM2 without nine mlps, whose predictions are flat
  q8: { topOne: 0.7, meanKl: 0.1 }, // 5e-2, of the same
  Q4_0: { topOne: 0.3, meanKl: 1.5 }, // 0.91, of weights that had been rounded to 4 bits before
  q4: { topOne: 0.3, meanKl: 1.5 }, // 0.82, of the same
  mixed: { topOne: 0.3, meanKl: 1.5 },
}

export interface VerifyOptions {
  /** The engine that evaluates the plan; absent: one is opened for `model` and closed again. */
  readonly engine?: Engine | undefined
  /** What the plan predicts on `rows`, where it was evaluated before; then no engine is needed. */
  readonly logits?: Float32Array | undefined
  /** Folders in whose node_modules consumers are looked for, before the package's own and the current one. */
  readonly modulesFrom?: readonly string[] | undefined
  /** Called as soon as a consumer has answered. */
  readonly onResult?: ((result: ConsumerResult) => void) | undefined
}

export interface ConsumerResult {
  readonly consumer: string
  readonly precision: StoredPrecision
  readonly status: 'agrees' | 'disagrees' | 'failed' | 'skipped'
  /** Version, or why it was skipped or failed. */
  readonly detail: string
  readonly agreement?: Agreement
  readonly limit: AgreementLimit
}

/**
 * Reopens the export at `path` in every consumer of its format that is installed, and compares what they predict on `rows`
 * (next, target or masked tokens, classes, or the states of an encoder without a head) with `plan` evaluated by our engine.
 * Consumers that can abort run in processes of their own. The results come in the order the consumers are listed; those not
 * installed are among them, as skipped. Throws `OutputError` for a path that is no export.
 */
export async function verifyExport(
  path: string,
  model: Model,
  plan: PruningPlan,
  rows: TokenRows,
  options: VerifyOptions = {},
): Promise<ConsumerResult[]> {
  const { format, variants, context, names } = await formatOf(path)
  if (format === 'huggingface' || format === 'nemotron') await checkOwnCode(path, names, format, model, plan)
  if (rows.rowLength > context) {
    throw new CalibrationError(
      `${path}: reads at most ${context} tokens, expected rows no longer, found ${rows.rowLength}; verify with shorter rows`,
    )
  }
  const { kind: prediction, width } = predictionsOf(model)
  const ours = options.logits ?? (await evaluated(model, plan, rows, options.engine))
  const results: ConsumerResult[] = []
  for (const consumer of consumers.filter(({ formats }) => formats.includes(format))) {
    for (const precision of variants) {
      const dtype = format === 'onnx' ? precision : undefined
      const { modulesFrom = [] } = options
      const scored = await consumer.score({ path, dtype, rows, prediction, width, modulesFrom })
      const limit = agreementLimits[precision]
      const about = { consumer: consumer.name, precision, limit }
      let result: ConsumerResult
      if ('skipped' in scored) result = { ...about, status: 'skipped', detail: scored.skipped }
      else if ('failed' in scored) result = { ...about, status: 'failed', detail: scored.failed }
      else {
        const agreement = agreementOf(ours, scored.logits, width)
        const status = isWithin(agreement, limit) ? 'agrees' : 'disagrees'
        result = { ...about, status, detail: scored.version, agreement }
      }
      results.push(result)
      options.onResult?.(result)
    }
  }
  return results
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

/** One line for people: `llama.cpp … F32: agrees, top-1 100.0 %, KL 1.2e-9 nats over 256 positions`. */
export function describeResult({ consumer, precision, status, detail, agreement, limit }: ConsumerResult): string {
  if (agreement === undefined) return `${consumer} ${precision}: ${status}: ${detail}`
  const { topOne, meanKl, positions } = agreement
  const found = `top-1 ${(100 * topOne).toFixed(1)} %, mean KL ${meanKl.toExponential(1)} nats over ${positions} positions`
  const expected = status === 'agrees' ? '' : `, expected at least ${100 * limit.topOne} % and at most ${limit.meanKl}`
  return `${consumer} ${detail} ${precision}: ${status}, ${found}${expected}`
}

/** What is behind the name of a model in an ONNX folder, and what transformers.js calls it. */
const onnxSuffixes = { '': 'fp32', _fp16: 'fp16', _quantized: 'q8', _q4: 'q4' } as const

interface ExportedFiles {
  readonly format: ExportFormat
  /** Of the files in the folder. */
  readonly names: readonly string[]
  readonly variants: readonly StoredPrecision[]
  /** Tokens the export says it was made for; infinite where nothing depends on it. */
  readonly context: number
}

async function formatOf(path: string): Promise<ExportedFiles> {
  const names = await entriesOf(path)
  if (names === undefined) return { format: 'gguf', names: [], ...(await describeGgufFile(path)) }
  if (names.includes('onnx')) {
    const files = (await entriesOf(join(path, 'onnx'))) ?? []
    const variants = Object.entries(onnxSuffixes).flatMap(([suffix, dtype]) =>
      ['model', 'decoder_model_merged'].some((name) => files.includes(`${name}${suffix}.onnx`)) ? [dtype] : [],
    )
    if (variants.length > 0) return { format: 'onnx', names, variants, context: Number.POSITIVE_INFINITY }
  }
  if (names.some((name) => name.endsWith('.safetensors'))) {
    const format = names.includes(`${decilmModule}.py`) ? 'nemotron' : 'huggingface'
    return { format, names, variants: ['F32'], context: Number.POSITIVE_INFINITY }
  }
  throw new OutputError(`${path}: has neither safetensors nor onnx/model.onnx, expected an export; is the path right?`)
}

/** Names in a folder; undefined for a file. */
async function entriesOf(path: string): Promise<string[] | undefined> {
  try {
    return (await stat(path)).isDirectory() ? await readdir(path) : undefined
  } catch (cause) {
    throw new OutputError(`${path}: cannot be opened (${(cause as Error).message}); is the path right?`, { cause })
  }
}

/** The type of the matrices that have most values, and the length of the context. */
async function describeGgufFile(path: string): Promise<Pick<ExportedFiles, 'variants' | 'context'>> {
  const file = await openGgufFile(path)
  await file.close()
  const values = new Map<string, number>()
  for (const { type, shape, elements } of file.tensors.values()) {
    if (shape.length > 1) values.set(type, (values.get(type) ?? 0) + elements)
  }
  const [most] = [...values].sort(([, a], [, b]) => b - a)[0] ?? ['F32']
  const known: readonly string[] = ['F32', 'F16', 'BF16', 'Q8_0', 'Q4_0']
  const architecture = file.metadata.get('general.architecture')?.value.value
  const context = Number(file.metadata.get(`${architecture}.context_length`)?.value.value ?? Number.POSITIVE_INFINITY)
  return { variants: [known.includes(most) ? (most as StoredPrecision) : 'mixed'], context }
}
