import type { HuggingFaceExportOptions } from '../export/huggingface.ts'
import type { Model } from '../model/model.ts'
import type { Engine, Objective, PruningPlan, TokenRows } from '../types.ts'
import { type CheckedExport, exportAndCheck } from './exportAndCheck.ts'
import { exportOther, type OtherExport, type OtherFormat, type OtherFormatOptions } from './otherFormats.ts'

export type Format = 'huggingface' | OtherFormat

export interface FormatsRequest extends OtherFormatOptions {
  /** Default huggingface. */
  readonly formats?: readonly Format[] | undefined
  /** Where the export of a format goes. */
  readonly pathOf: (format: Format) => string
  /** What consumers are compared on. */
  readonly rows: TokenRows
  /** The number that the folder for Hugging Face is reopened for. */
  readonly check: {
    readonly objective: (engine: Engine) => Objective
    readonly expectedLoss: number
    readonly threads?: number | undefined
  }
  readonly huggingFace: HuggingFaceExportOptions
}

export interface ExportedFormats {
  readonly export?: CheckedExport | undefined
  readonly exportPath?: string | undefined
  /** Exports for other software. */
  readonly others: readonly OtherExport[]
}

/** Writes the model without what `plan` removes in every format asked for, and checks each. Throws `OutputError`. */
export async function exportFormats(
  model: Model,
  plan: PruningPlan,
  request: FormatsRequest,
): Promise<ExportedFormats> {
  const { formats = ['huggingface'], pathOf, rows } = request
  const others: OtherExport[] = []
  for (const format of formats) {
    if (format !== 'huggingface') others.push(await exportOther(format, model, plan, pathOf(format), rows, request))
  }
  if (!formats.includes('huggingface')) return { others }
  const exportPath = pathOf('huggingface')
  const written = await exportAndCheck(model, plan, exportPath, request.check, request.huggingFace)
  return { export: written, exportPath, others }
}

/** What a format's export is called in a folder that holds several. */
export const exportNames: Readonly<Record<Format, string>> = {
  huggingface: 'model',
  gguf: 'model.gguf',
  onnx: 'onnx',
}
