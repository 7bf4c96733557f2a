import { join } from 'node:path'
import type { EngineOptions } from '../engine/threadEngine.ts'
import { OutputError } from '../errors.ts'
import type { HuggingFaceExportOptions } from '../export/huggingface.ts'
import type { Engine } from '../measures/measurement.ts'
import type { Model } from '../model/model.ts'
import type { Objective, PruningPlan, TokenRows } from '../types.ts'
import { checkContents, describeContents } from '../verify/checkContents.ts'
import { predict } from '../verify/predictions.ts'
import { type ConsumerResult, describeResult, isWrong, verifyExport } from '../verify/verifyExport.ts'
import { defaultFormats } from './defaultFormats.ts'
import { type CheckedExport, exportAndCheck } from './exportAndCheck.ts'
import { type ExportedFile, filesAt, sizeOf } from './fileSizes.ts'
import { checkPlanFormats } from './formatChecks.ts'
import { type Format, type OtherFormat, type OtherFormatOptions, writeOther } from './otherFormats.ts'
import { checkReplaceable } from './replaceable.ts'

/** What a format's export is called in a folder that holds several. */
export const exportNames: Readonly<Record<Format, string>> = {
  huggingface: 'model',
  gguf: 'model.gguf',
  onnx: 'onnx',
  nemotron: 'nemotron',
  mergekit: 'mergekit.yaml',
}

/** Which formats are written where, and what may be there before. */
export interface Destinations {
  /** Default that of the model: gguf for a .gguf file of a family that has one, else huggingface. */
  readonly formats?: readonly Format[] | undefined
  /** Where the export of a format goes. */
  readonly pathOf: (format: Format) => string
  /** The places are in a run directory: what an earlier, smaller budget of the run left there is replaced. */
  readonly inRun?: boolean | undefined
  /** Replace whatever is there. */
  readonly force?: boolean | undefined
}

export interface FormatsRequest extends Omit<OtherFormatOptions, 'replace'>, Destinations {
  /** The number that the folder for Hugging Face is reopened for. */
  readonly check: {
    readonly objective: (engine: Engine) => Objective
    readonly expectedLoss: number
    readonly engine?: EngineOptions | undefined
  }
  /** For the card. */
  readonly huggingFace: Pick<HuggingFaceExportOptions, 'method' | 'measured'>
  /** What consumers must predict; absent: none is asked. */
  readonly expected?: ExpectedPredictions | undefined
  /** Called with a line for each consumer. */
  readonly onConsumer?: ((line: string) => void) | undefined
}

/** The plan's own predictions, made while its engine is open. */
export interface ExpectedPredictions {
  readonly rows: TokenRows
  /** (B·T,V) */
  readonly logits: Float32Array
}

export interface ExportedFormats {
  /** Bytes of the dense model's weight files. */
  readonly denseBytes: number
  readonly export?:
    | (CheckedExport & { readonly files: readonly ExportedFile[]; readonly consumers: readonly ConsumerResult[] })
    | undefined
  readonly exportPath?: string | undefined
  /** Exports for other software. */
  readonly others: readonly OtherExport[]
}

export interface OtherExport {
  readonly format: OtherFormat
  readonly path: string
  readonly sizeBytes: number
  readonly files: readonly ExportedFile[]
  /** What the software that is installed found. */
  readonly consumers: readonly ConsumerResult[]
}

/**
 * Writes the model without what `plan` removes in every format asked for, compares what is stored with the plan, opens each export in
 * every consumer that is installed and compares its predictions with those expected. Throws before anything is written where one of the formats has no form for the
 * plan, and `OutputError` when a consumer disagrees or cannot load what was written, which stays there to be looked at.
 */
export async function exportFormats(
  model: Model,
  plan: PruningPlan,
  request: FormatsRequest,
): Promise<ExportedFormats> {
  const { formats = defaultFormats(model), pathOf, signal, onProgress } = request
  await checkPlanFormats(model, plan, formats)
  await checkDestinations(model, plan, request)
  const denseBytes = await sizeOf(model.weights.files)
  let result: ExportedFormats = { denseBytes, others: [] }
  for (const format of new Set(formats)) {
    const path = pathOf(format)
    if (format === 'huggingface') {
      const written = await exportAndCheck(model, plan, path, request.check, {
        ...request.huggingFace,
        ...(signal && { signal }),
        ...(onProgress && { onProgress }),
        replace: true,
      })
      const consumers = await askConsumers(path, model, plan, request)
      result = { ...result, export: { ...written, files: await filesAt(path), consumers }, exportPath: path }
    } else {
      await writeOther(format, model, plan, path, { ...request, replace: true })
      const files = await filesAt(path)
      const sizeBytes = files.reduce((total, file) => total + file.sizeBytes, 0)
      const consumers = await askConsumers(path, model, plan, request)
      result = { ...result, others: [...result.others, { format, path, sizeBytes, files, consumers }] }
    }
  }
  return result
}

/** The places of the exports of a run. */
export function inRunDirectory(model: Model, request: Omit<Destinations, 'pathOf'> & { readonly output: string }) {
  const { output, formats = defaultFormats(model), force } = request
  return { formats, force, inRun: true, pathOf: (format: Format) => join(output, exportNames[format]) }
}

/** Throws `OutputError` where an export would replace anything but an earlier one of the same; `plan` undefined: not known yet. */
export async function checkDestinations(model: Model, plan: PruningPlan | undefined, where: Destinations) {
  const { formats = defaultFormats(model), pathOf, inRun = false, force = false } = where
  for (const format of new Set(formats)) {
    const path = pathOf(format)
    if (format === 'gguf' && !path.endsWith('.gguf')) {
      throw new OutputError(
        `${path}: expected a name that ends in .gguf, by which software knows the file; name another`,
      )
    }
    await checkReplaceable(path, model, inRun ? undefined : plan, force)
  }
}

/** The plan's predictions on `rows`, for `exportFormats`. */
export async function expectedPredictions(
  model: Model,
  engine: Engine,
  plan: PruningPlan,
  rows: TokenRows,
): Promise<ExpectedPredictions> {
  return { rows, logits: await predict(model, engine, rows, plan) }
}

async function askConsumers(
  path: string,
  model: Model,
  plan: PruningPlan,
  { expected, onConsumer }: FormatsRequest,
): Promise<ConsumerResult[]> {
  const onContents = (line: string) => onConsumer?.(`${path}: ${line}`)
  if (expected === undefined) {
    onContents(describeContents(await checkContents(path, model, plan)))
    return []
  }
  const { rows, logits } = expected
  const consumers = await verifyExport(path, model, plan, rows, {
    logits,
    onContents,
    onResult: (result) => onConsumer?.(`${path}: ${describeResult(result)}`),
  })
  const wrong = consumers.filter(isWrong)
  if (wrong.length === 0) return consumers
  throw new OutputError(
    `${path}: ${wrong.map(describeResult).join('; ')}; do not use this export, and report the model and the plan`,
  )
}
