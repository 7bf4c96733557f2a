import { mkdir } from 'node:fs/promises'
import { dirname } from 'node:path'
import { OutputError } from '../errors.ts'
import { exportGguf, type GgufExportType } from '../export/gguf.ts'
import { exportOnnx, type OnnxExportOptions } from '../export/onnx.ts'
import type { Model } from '../model/model.ts'
import type { PruningPlan, StopSignal, TokenRows } from '../types.ts'
import { type ConsumerResult, describeResult, verifyExport } from '../verify/verifyExport.ts'

/** A checkpoint for other software: llama.cpp's file, or the folder of transformers.js and onnxruntime. */
export type OtherFormat = 'gguf' | 'onnx'

export interface OtherFormatOptions {
  /** Type of the matrices of a GGUF file; absent: as stored. */
  readonly quantize?: GgufExportType | undefined
  /** One ONNX model each; default fp32. */
  readonly dtypes?: OnnxExportOptions['dtypes']
  readonly signal?: StopSignal | undefined
  readonly onConsumer?: ((line: string) => void) | undefined
}

export interface OtherExport {
  readonly format: OtherFormat
  readonly path: string
  readonly sizeBytes: number
  readonly consumers: readonly ConsumerResult[]
}

/**
 * Writes the model without what `plan` removes in `format` to `path` and opens it in every consumer that is installed. Throws
 * `OutputError` when one of them disagrees with the plan evaluated by our engine, or cannot load what was written.
 */
export async function exportOther(
  format: OtherFormat,
  model: Model,
  plan: PruningPlan,
  path: string,
  rows: TokenRows,
  options: OtherFormatOptions = {},
): Promise<OtherExport> {
  await mkdir(dirname(path), { recursive: true })
  const sizeBytes = await writers[format](model, plan, path, options)
  const consumers = await verifyExport(path, model, plan, rows, {
    onResult: (result) => options.onConsumer?.(describeResult(result)),
  })
  const wrong = consumers.filter(({ status }) => status === 'disagrees' || status === 'failed')
  if (wrong.length > 0) {
    throw new OutputError(
      `${path}: ${wrong.map(describeResult).join('; ')}; do not use this export, and report the model and the plan`,
    )
  }
  return { format, path, sizeBytes, consumers }
}

type Writer = (model: Model, plan: PruningPlan, path: string, options: OtherFormatOptions) => Promise<number>

const writers: Record<OtherFormat, Writer> = {
  gguf: async (model, plan, path, { quantize, signal }) =>
    (await exportGguf(model, plan, path, { type: quantize, signal })).sizeBytes,
  onnx: async (model, plan, path, { dtypes, signal }) => {
    const { files } = await exportOnnx(model, plan, path, { dtypes, signal, replace: true })
    return files.reduce((total, { sizeBytes }) => total + sizeBytes, 0)
  },
}
