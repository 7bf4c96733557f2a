import { readdir, readFile, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { CheckpointError, OutputError } from '../errors.ts'
import { type ExportRecord, recordInConfig, recordInEntries } from '../export/exportRecord.ts'
import { decilmModule } from '../export/nemotron.ts'
import { openGgufFile } from '../format/gguf/openGgufFile.ts'
import { isGgufPath } from '../model/gguf/open.ts'
import type { ModelConfig } from '../types.ts'
import type { ExportFormat } from './consumer.ts'
import type { StoredPrecision } from './limits.ts'

/** What is found at the path of an export. */
export interface ExportedFiles {
  readonly format: ExportFormat
  /** Of the files in the folder. */
  readonly names: readonly string[]
  /** Of an ONNX folder, each of its models; else the type of the matrices that have most values. */
  readonly variants: readonly StoredPrecision[]
  /** Tokens the export says it was made for; infinite where nothing depends on it. */
  readonly context: number
  /** What it says of its making; undefined where it says nothing. */
  readonly record: ExportRecord | undefined
}

/** What is behind the name of a model in an ONNX folder, and what transformers.js calls it. */
const onnxSuffixes = { '': 'fp32', _fp16: 'fp16', _quantized: 'q8', _q4: 'q4' } as const

/** Looks at what lies at `path`; reads no weights. Throws `OutputError` for a path that is no export. */
export async function exportedFiles(path: string): Promise<ExportedFiles> {
  const names = await entriesOf(path)
  const everywhere = { context: Number.POSITIVE_INFINITY }
  if (names === undefined) return isGgufPath(path) ? ggufFile(path) : recipe(path)
  if (names.includes('onnx')) {
    const files = (await entriesOf(join(path, 'onnx'))) ?? []
    const variants = Object.entries(onnxSuffixes).flatMap(([suffix, dtype]) =>
      ['model', 'decoder_model_merged'].some((name) => files.includes(`${name}${suffix}.onnx`)) ? [dtype] : [],
    )
    if (variants.length > 0) {
      return { format: 'onnx', names, variants, ...everywhere, record: recordInConfig(await configIn(path)) }
    }
  }
  if (names.some((name) => name.endsWith('.safetensors'))) {
    const format = names.includes(`${decilmModule}.py`) ? 'nemotron' : 'huggingface'
    const record = recordInConfig(await configIn(path))
    return { format, names, variants: ['F32'], ...everywhere, record }
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

/** config.json of a folder. Throws `CheckpointError` where there is none. */
export async function configIn(folder: string): Promise<ModelConfig> {
  const path = join(folder, 'config.json')
  try {
    return JSON.parse(await readFile(path, 'utf8')) as ModelConfig
  } catch (cause) {
    throw new CheckpointError(`${path}: cannot be read (${(cause as Error).message}); is the export whole?`, { cause })
  }
}

async function ggufFile(path: string): Promise<ExportedFiles> {
  const file = await openGgufFile(path)
  await file.close()
  const values = new Map<string, number>()
  for (const { type, shape, elements } of file.tensors.values()) {
    if (shape.length > 1) values.set(type, (values.get(type) ?? 0) + elements)
  }
  const [most] = [...values].sort(([, a], [, b]) => b - a)[0] ?? ['F32']
  const known: readonly string[] = ['F32', 'F16', 'BF16', 'Q8_0', 'Q4_0']
  const metadataOf = (key: string) => file.metadata.get(key)?.value.value
  const context = Number(metadataOf(`${metadataOf('general.architecture')}.context_length`) ?? Number.POSITIVE_INFINITY)
  const variants: StoredPrecision[] = [known.includes(most) ? (most as StoredPrecision) : 'mixed']
  return { format: 'gguf', names: [], variants, context, record: recordInEntries(metadataOf) }
}

async function recipe(path: string): Promise<ExportedFiles> {
  const text = await readFile(path, 'utf8')
  if (!/^merge_method: /m.test(text)) {
    throw new OutputError(
      `${path}: is neither a .gguf file nor a recipe of mergekit, expected an export; is the path right?`,
    )
  }
  const comments = new Map([...text.matchAll(/^# (\S+): (.*)$/gm)].map(([, key, value]) => [key!, value!]))
  const record = recordInEntries((key) => comments.get(key))
  return { format: 'mergekit', names: [], variants: [], context: Number.POSITIVE_INFINITY, record }
}
