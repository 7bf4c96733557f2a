import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { PlanError } from '../errors.ts'
import { writeFileAtomic } from '../format/atomicFile.ts'
import { publishFolder } from '../format/atomicFolder.ts'
import { encodeOnnx } from '../format/onnx/encode.ts'
import { opsets } from '../graph/toOnnx.ts'
import { applyPlan } from '../model/applyPlan.ts'
import type { Model } from '../model/model.ts'
import type { ModelConfig, PruningPlan, StopSignal } from '../types.ts'
import { layOutData, writeData } from './onnxExternalData.ts'
import { composeDecoder, type OnnxDtype } from './onnxGraph.ts'

export interface OnnxExportOptions {
  /** One model file each; default `['fp32']`. */
  readonly dtypes?: readonly OnnxDtype[] | undefined
  /** Replace a folder that has files in it; without it such a folder is refused. */
  readonly replace?: boolean | undefined
  readonly signal?: StopSignal | undefined
  /** Called after each weight, with the bytes of weights written so far and in all. */
  readonly onProgress?: ((writtenBytes: number, totalBytes: number) => void) | undefined
}

export interface OnnxExport {
  /** Attentions that are left, each with a place in the key/value cache. */
  readonly caches: number
  /** Bytes of each model file with its data. */
  readonly files: readonly { readonly dtype: OnnxDtype; readonly name: string; readonly sizeBytes: number }[]
}

/** Names transformers.js derives from a dtype. */
const fileNames: Readonly<Record<OnnxDtype, string>> = {
  fp32: 'model.onnx',
  fp16: 'model_fp16.onnx',
  q8: 'model_quantized.onnx',
  q4: 'model_q4.onnx',
}

/**
 * Writes `model` without what `plan` leaves out as a folder for transformers.js and onnxruntime: config.json, tokenizer
 * files, and under onnx/ one model for each dtype with its weights beside it. Any plan has an ONNX form, also one that
 * leaves attention out of the first layer: caches are numbered anew. The folder appears whole or not at all, and one
 * weight is in memory at a time. Nothing is run: reopen the folder to verify it.
 *
 * Throws `PlanError` for a plan that does not fit, `UnsupportedModelError` for a family or size that has no such form,
 * `OutputError` where the folder cannot be written.
 */
export async function exportOnnx(
  model: Model,
  plan: PruningPlan,
  directory: string,
  options: OnnxExportOptions = {},
): Promise<OnnxExport> {
  const { dtypes = ['fp32'], signal, onProgress } = options
  if (dtypes.length === 0) throw new PlanError('export: no dtype is asked for, expected one of fp32, fp16, q8, q4')
  const pruned = applyPlan(model, plan)
  const variants = [...new Set(dtypes)].map((dtype) => {
    const name = fileNames[dtype]
    const composed = composeDecoder(pruned, dtype)
    return { dtype, name, composed, data: layOutData(name, composed.constants) }
  })
  const dataBytes = variants.flatMap(({ data }) => data.files).reduce((total, { sizeBytes }) => total + sizeBytes, 0)
  const config = onnxConfig(pruned, variants[0]!.composed.cacheHeads, variants)
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
      for (const { dtype, name, composed, data } of variants) {
        await writeData(join(folder, 'onnx'), data.files, { signal, onWritten })
        const bytes = encodeOnnx({
          name: `${model.id} ${dtype}`,
          opsets,
          nodes: composed.nodes,
          initializers: [...composed.initializers, ...data.initializers],
          inputs: composed.inputs,
          outputs: composed.outputs,
        })
        await writeFileAtomic(join(folder, 'onnx', name), bytes)
        const sizeBytes = data.files.reduce((total, file) => total + file.sizeBytes, bytes.length)
        files.push({ dtype, name, sizeBytes })
      }
      for (const [name, read] of model.assets) await writeFileAtomic(join(folder, name), await read())
      await writeFileAtomic(join(folder, 'config.json'), `${JSON.stringify(config, undefined, 2)}\n`)
      return { caches: variants[0]!.composed.cacheHeads.length, files }
    },
    { replace: options.replace ?? false, signal },
  )
}

/** Keys of config.json that hold the number of layers; the first that is there is the family's. */
const layerKeys = ['num_hidden_layers', 'n_layer', 'n_layers', 'num_layers']

/** Families that transformers.js has no name for, under the name of one that it runs in the same way. */
const modelTypes: Readonly<Record<string, string>> = { baichuan: 'llama' }

/**
 * config.json as transformers.js reads it: the number of layers is the number of caches it makes, so it is that of the attentions
 * left. Their shapes come from the graph. `multi_query` would make it expect the fused caches of gpt_bigcode.
 */
function onnxConfig(
  model: Model,
  cacheHeads: readonly number[],
  variants: readonly { readonly name: string; readonly data: { readonly files: readonly unknown[] } }[],
): ModelConfig {
  const {
    auto_map: _,
    quantization_config: __,
    multi_query: ___,
    ...config
  }: Record<string, unknown> = { ...model.config }
  const type = String(config['model_type'])
  const key = layerKeys.find((name) => config[name] !== undefined) ?? 'num_hidden_layers'
  const attentions = model.blocks.filter(({ kind }) => kind === 'attention')
  const layerTypes = config['layer_types']
  if (Array.isArray(layerTypes)) config['layer_types'] = attentions.map(({ layer }) => layerTypes[layer])
  const { K, G, E } = model.sizes as { K: number; G: number; E: number }
  const heads = Math.max(1, ...cacheHeads)
  if (heads !== K && config['num_attention_heads'] !== undefined) {
    Object.assign(config, { num_attention_heads: heads * G, num_key_value_heads: heads, head_dim: E })
  }
  return {
    ...config,
    model_type: Object.hasOwn(modelTypes, type) ? modelTypes[type] : type,
    [key]: cacheHeads.length,
    'transformers.js_config': {
      use_external_data_format: Object.fromEntries(variants.map(({ name, data }) => [name, data.files.length])),
      kv_cache_dtype: { fp16: 'float16' },
    },
  }
}
