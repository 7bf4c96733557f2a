import { mkdir } from 'node:fs/promises'
import { basename, join } from 'node:path'
import { PlanError } from '../errors.ts'
import { writeFileAtomic } from '../format/atomicFile.ts'
import { publishFolder } from '../format/atomicFolder.ts'
import { encodeOnnx } from '../format/onnx/encode.ts'
import { opsets } from '../graph/toOnnx.ts'
import { applyPlan } from '../model/applyPlan.ts'
import type { Model } from '../model/model.ts'
import type { PruningPlan, StopSignal } from '../types.ts'
import { writeAssets } from './assets.ts'
import { type ExportRecord, exportRecord, recordEntries, withRecord } from './exportRecord.ts'
import { cacheLayers, onnxConfig } from './onnxConfig.ts'
import { type ExternalData, layOutData, writeData } from './onnxExternalData.ts'
import { type ComposedOnnx, composeOnnx } from './onnxGraph.ts'
import type { OnnxAttention, OnnxDtype } from './onnxProducts.ts'

export interface OnnxExportOptions {
  /** One model each; default `['fp32']`. */
  readonly dtypes?: readonly OnnxDtype[] | undefined
  /** Of decoders; default `fused`. With `plain`, batches of prompts of unequal length may be padded on the left. */
  readonly attention?: OnnxAttention | undefined
  /** Replace a folder that has files in it; without it such a folder is refused. */
  readonly replace?: boolean | undefined
  readonly signal?: StopSignal | undefined
  /** Called after each weight, with the bytes of weights written so far and in all. */
  readonly onProgress?: ((writtenBytes: number, totalBytes: number) => void) | undefined
}

export interface OnnxExport {
  /** Layers of the key/value cache: attentions of a decoder that are left; of an encoder 0. */
  readonly caches: number
  /** Bytes of each model file with its data; an encoder-decoder has two for each dtype. */
  readonly files: readonly { readonly dtype: OnnxDtype; readonly name: string; readonly sizeBytes: number }[]
}

/** What transformers.js puts behind the name of a model for a dtype. */
const suffixes: Readonly<Record<OnnxDtype, string>> = { fp32: '', fp16: '_fp16', q8: '_quantized', q4: '_q4' }

/** One model file: its graph, and where its weights lie beside it. */
export interface OnnxModelFile {
  readonly dtype: OnnxDtype
  readonly name: string
  readonly graph: ComposedOnnx
  readonly data: ExternalData
}

/** The files of `pruned`, plans already applied, their weights not yet read. Throws as `exportOnnx` does. */
export function onnxModels(pruned: Model, dtypes: readonly OnnxDtype[], attention: OnnxAttention): OnnxModelFile[] {
  return [...new Set(dtypes)].flatMap((dtype) =>
    composeOnnx(pruned, dtype, attention).map((graph) => {
      const name = `${graph.file}${suffixes[dtype]}.onnx`
      return { dtype, name, graph, data: layOutData(name, graph.constants) }
    }),
  )
}

/** The bytes of an .onnx file whose graph is called `name`. */
export function modelBytes({ graph, data }: Pick<OnnxModelFile, 'graph' | 'data'>, name: string, record: ExportRecord) {
  const { nodes, inputs, outputs } = graph
  const initializers = [...graph.initializers, ...data.initializers]
  return encodeOnnx({ name, opsets, nodes, initializers, inputs, outputs, metadata: recordEntries(record) })
}

/** Throws where `exportOnnx` would refuse the plan; reads no weights. */
export function describeOnnx(model: Model, plan: PruningPlan): void {
  composeOnnx(applyPlan(model, plan), 'fp32')
}

/**
 * Writes `model` without what `plan` leaves out as a folder for transformers.js and onnxruntime: config.json, tokenizer
 * files, and under onnx/ one model for each dtype with its weights beside it (of an encoder-decoder two, `encoder_model` and
 * `decoder_model_merged`). Any plan has an ONNX form, also one that leaves attention out of the first layer: caches are
 * numbered anew. Rows end where frequencies change with their length (LongRoPE, dynamic NTK): config.json says how long they may
 * be. The folder appears whole or not at all, and one weight is in memory at a time. Nothing is run: reopen the
 * folder to verify it.
 *
 * Throws `PlanError` for a plan that does not fit, `UnsupportedModelError` for a head or size that has no such form,
 * `OutputError` where the folder cannot be written.
 */
export async function exportOnnx(
  model: Model,
  plan: PruningPlan,
  directory: string,
  options: OnnxExportOptions = {},
): Promise<OnnxExport> {
  const { dtypes = ['fp32'], attention = 'fused', signal, onProgress } = options
  if (dtypes.length === 0) throw new PlanError('export: no dtype is asked for, expected one of fp32, fp16, q8, q4')
  const pruned = applyPlan(model, plan)
  const models = onnxModels(pruned, dtypes, attention)
  const graphs = models.map(({ graph }) => graph)
  const dataBytes = models.flatMap(({ data }) => data.files).reduce((total, { sizeBytes }) => total + sizeBytes, 0)
  const dataFiles = Object.fromEntries(models.map(({ name, data }) => [name, data.files.length]))
  const record = await exportRecord(model, plan)
  const config = withRecord(
    onnxConfig(pruned, graphs, dataFiles, dtypes.includes('fp32') ? 'fp32' : dtypes[0]!),
    record,
  )
  return publishFolder(
    directory,
    async (folder) => {
      await mkdir(join(folder, 'onnx'))
      let written = 0
      const onWritten = (bytes: number): void => {
        written += bytes
        onProgress?.(written, dataBytes)
      }
      const files: OnnxExport['files'][number][] = []
      for (const { dtype, name, graph, data } of models) {
        await writeData(join(folder, 'onnx'), data.files, { signal, onWritten })
        const bytes = modelBytes({ graph, data }, `${basename(model.id)} ${dtype}`, record)
        await writeFileAtomic(join(folder, 'onnx', name), bytes)
        const sizeBytes = data.files.reduce((total, file) => total + file.sizeBytes, bytes.length)
        files.push({ dtype, name, sizeBytes })
      }
      await writeAssets(model, folder)
      await writeFileAtomic(join(folder, 'config.json'), `${JSON.stringify(config, undefined, 2)}\n`)
      return { caches: cacheLayers(graphs), files }
    },
    { replace: options.replace ?? false, signal },
  )
}
