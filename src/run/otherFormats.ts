import { dirname } from 'node:path'
import { checkGgufTokenizer, describeGguf, exportGguf, type GgufExportType } from '../export/gguf.ts'
import { exportMergekit, mergekitYaml } from '../export/mergekit.ts'
import { describeNemotron, exportNemotron } from '../export/nemotron.ts'
import { describeOnnx, exportOnnx, type OnnxExportOptions } from '../export/onnx.ts'
import { makeFolder } from '../format/makeFolder.ts'
import { outputFailure } from '../format/outputFailure.ts'
import type { Model } from '../model/model.ts'
import type { PruningPlan, StopSignal } from '../types.ts'

/**
 * A form for other software: llama.cpp's file, the folder of transformers.js and onnxruntime, Nemotron-NAS for vLLM and its
 * relatives, or the recipe by which mergekit builds the model anew.
 */
export type OtherFormat = 'gguf' | 'onnx' | 'nemotron' | 'mergekit'

export type Format = 'huggingface' | OtherFormat

export interface OtherFormatOptions {
  /** Type of the matrices of a GGUF file; absent: as stored. */
  readonly quantize?: GgufExportType | undefined
  /** One ONNX model each; default q8, which browsers load first. */
  readonly dtypes?: OnnxExportOptions['dtypes']
  /** How ONNX decoders attend; default fused. */
  readonly attention?: OnnxExportOptions['attention']
  /** Replace what is there; without it a file, or a folder that has files in it, is refused. */
  readonly replace?: boolean | undefined
  readonly signal?: StopSignal | undefined
  /** Called with the bytes of tensor data written so far and in all. */
  readonly onProgress?: ((writtenBytes: number, totalBytes: number) => void) | undefined
}

interface Writer {
  /** Throws where the format has no form for the plan; reads no weights. */
  describe(model: Model, plan: PruningPlan): unknown
  /** Throws where it has no form for the tokenizer, whatever the plan. */
  checkCarried?(model: Model): Promise<unknown>
  write(model: Model, plan: PruningPlan, path: string, options: OtherFormatOptions): Promise<unknown>
}

export const otherFormats: Readonly<Record<OtherFormat, Writer>> = {
  gguf: {
    describe: describeGguf,
    checkCarried: checkGgufTokenizer,
    write: (model, plan, path, { quantize, ...options }) =>
      exportGguf(model, plan, path, { type: quantize, ...options }),
  },
  onnx: {
    describe: describeOnnx,
    write: (model, plan, path, { dtypes = ['q8'], ...options }) =>
      exportOnnx(model, plan, path, { dtypes, ...options }),
  },
  nemotron: {
    describe: describeNemotron,
    write: exportNemotron,
  },
  mergekit: {
    describe: mergekitYaml,
    write: exportMergekit,
  },
}

/** Writes the model without what `plan` removes in `format` to `path`. */
export async function writeOther(
  format: OtherFormat,
  model: Model,
  plan: PruningPlan,
  path: string,
  options: OtherFormatOptions,
): Promise<void> {
  try {
    await makeFolder(dirname(path))
  } catch (cause) {
    throw await outputFailure(path, cause)
  }
  await otherFormats[format].write(model, plan, path, options)
}
