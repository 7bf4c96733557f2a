import { readdir, stat } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { CheckpointError } from '../errors.ts'
import { openCheckpointFile } from '../format/checkpointFile.ts'
import { openSafetensors } from '../format/safetensors/read.ts'
import type { ModelConfig, WeightStore } from '../types.ts'
import type { Architecture } from './architecture.ts'
import { carriedPaths } from './carriedFiles.ts'
import { familyOf } from './families.ts'
import { isGgufPath } from './gguf/open.ts'

/** A Hugging Face model folder, opened. The caller closes `weights`. */
export interface OpenedFolder {
  readonly config: ModelConfig
  readonly weights: WeightStore
  /** File name → its bytes, read when asked for: what an export carries along. */
  readonly assets: ReadonlyMap<string, () => Promise<Uint8Array>>
}

/** Published configurations have some kilobytes, those with quantisation tables some hundred. */
const maxConfigBytes = 10_000_000

/** The largest tokenizer.json published have some 40 MB. */
const maxAssetBytes = 500_000_000

/** Deeper there are no files of a model: `1_Pooling/config.json`, `additional_chat_templates/rag.jinja`. */
const maxDepth = 2

/**
 * Opens a folder as `save_pretrained` or a download leaves it: `config.json` beside `model.safetensors`, beside
 * `model.safetensors.index.json` with its shards, or beside one `*.safetensors` of another name. Throws
 * `CheckpointError` that names what is missing, and how to convert a checkpoint of another format. Pickled checkpoints
 * are never opened, because opening one runs its code.
 */
export async function openFolder(path: string): Promise<OpenedFolder> {
  const names = await listFolder(path)
  if (!names.includes('config.json')) {
    throw new CheckpointError(
      `${path}: has no config.json, expected a model folder with config.json and model.safetensors; ${adviceFor(names, path)}`,
    )
  }
  const config = await readConfig(join(path, 'config.json'))
  const weights = await openSafetensors(join(path, weightsName(names, path, config)))
  try {
    return { config, weights, assets: await assetsOf(path) }
  } catch (error) {
    await weights.close()
    throw error
  }
}

/** Each is opened once: what cannot be read or is too large would be missing when an export is written, after the search. */
async function assetsOf(path: string): Promise<OpenedFolder['assets']> {
  const carried = carriedPaths(await filesBelow(path))
  for (const name of carried) {
    const file = await openCheckpointFile(join(path, name))
    await file.close()
    checkSize(join(path, name), file.size, maxAssetBytes)
  }
  return new Map(carried.map((name) => [name, () => readWhole(join(path, name), maxAssetBytes)]))
}

/** Paths of the files below a folder, with `/` between folders; links lead to files alone, as in the hub's cache. */
async function filesBelow(root: string, folder = '', depth = 0): Promise<string[]> {
  const entries = await readdir(join(root, folder), { withFileTypes: true })
  const found = await Promise.all(
    entries.map(async (entry): Promise<string[]> => {
      const name = folder === '' ? entry.name : `${folder}/${entry.name}`
      if (entry.name.startsWith('.')) return []
      if (entry.isDirectory()) return depth < maxDepth ? filesBelow(root, name, depth + 1) : []
      const isFile = entry.isFile() || (await stat(join(root, name)).catch(() => undefined))?.isFile() === true
      return isFile ? [name] : []
    }),
  )
  return found.flat()
}

/**
 * The folder of a model of which one file is named: its weights, one of their shards, the index or config.json. Throws `CheckpointError`
 * for another file, and where the folder's weights are others.
 */
export async function folderOfFile(path: string): Promise<string> {
  const [folder, name] = [dirname(path), basename(path)]
  const names = await listFolder(folder)
  if (!/\.safetensors(\.index\.json)?$/.test(name) && name !== 'config.json') {
    throw new CheckpointError(
      `${path}: is no model, expected a model folder, a .gguf file, or a .safetensors file with config.json beside it; ${adviceFor([name], folder)}`,
    )
  }
  if (!names.includes('config.json')) {
    throw new CheckpointError(
      `${path}: has no config.json beside it, expected one; copy it from where the weights came from`,
    )
  }
  const weights = weightsName(names, folder, {})
  const isOfWeights =
    name === 'config.json' || name === weights || (weights.endsWith('.json') && /-\d+-of-\d+\.safetensors$/.test(name))
  if (isOfWeights) return folder
  throw new CheckpointError(
    `${path}: is not what its folder is opened by, ${weights}; move it and config.json into a folder of their own`,
  )
}

async function listFolder(path: string): Promise<string[]> {
  try {
    return (await readdir(path)).sort()
  } catch (cause) {
    throw new CheckpointError(
      `${path}: cannot be opened as a folder (${(cause as Error).message}); expected a model folder with config.json and model.safetensors`,
      { cause },
    )
  }
}

async function readConfig(path: string): Promise<ModelConfig> {
  const bytes = await readWhole(path, maxConfigBytes)
  let config: unknown
  try {
    config = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes))
  } catch (cause) {
    throw new CheckpointError(`${path}: is not JSON; is the download complete?`, { cause })
  }
  if (typeof config !== 'object' || config === null || Array.isArray(config)) {
    const found = Array.isArray(config) ? 'a list' : config === null ? 'null' : `a ${typeof config}`
    throw new CheckpointError(`${path}: holds ${found}, expected an object; is this a model's config.json?`)
  }
  return config as ModelConfig
}

/** Name of the file that leads to all weights. `model.safetensors` goes before an index, as in transformers. */
function weightsName(names: readonly string[], path: string, config: ModelConfig): string {
  for (const name of ['model.safetensors', 'model.safetensors.index.json']) if (names.includes(name)) return name
  if (names.includes('adapter_config.json')) {
    throw new CheckpointError(
      `${path}: holds an adapter, expected a whole model; merge it into its base model first (peft: merge_and_unload, then save_pretrained)`,
    )
  }
  const files = names.filter((name) => name.endsWith('.safetensors'))
  const indexes = names.filter((name) => name.endsWith('.safetensors.index.json'))
  const [only, ...others] = indexes.length > 0 ? indexes : files
  if (only === undefined) {
    throw new CheckpointError(
      `${path}: has no weights, expected model.safetensors or model.safetensors.index.json; ${adviceFor(names, path, config)}`,
    )
  }
  if (others.length > 0) {
    throw new CheckpointError(
      `${path}: has ${others.length + 1} weight files (${only}, ${others[0]} …) and no model.safetensors.index.json that says which belong together; download the index too, or leave one file`,
    )
  }
  return only
}

/** What to do with a folder that holds something else. */
function adviceFor(names: readonly string[], path: string, config?: ModelConfig): string {
  const pickled = names.find((name) => /\.(bin|pt|pth|ckpt|pkl)(\.index\.json)?$/.test(name))
  if (pickled !== undefined) {
    return `${pickled} is a pickled checkpoint, which would run its own code when opened: convert it with python -c "from transformers import ${classOf(config)} as M; M.from_pretrained('${path}').save_pretrained('${basename(path)}-safetensors')"`
  }
  const gguf = names.find(isGgufPath)
  if (gguf !== undefined) return `to prune ${gguf}, name that file instead of its folder`
  const foreign = names.find((name) => /\.(h5|msgpack|onnx)$/.test(name))
  if (foreign !== undefined) return `${foreign} cannot be read: save the model as safetensors with transformers`
  return 'is the path right and the download complete?'
}

/** The class that keeps the head of a checkpoint. A config is not trusted: what is no name is not repeated in a command. */
function classOf(config: ModelConfig = {}): string {
  const named = (config['architectures'] as unknown[] | undefined)?.[0]
  if (typeof named === 'string' && /^[A-Za-z]\w*$/.test(named)) return named
  // the first configs of BERT name neither class nor family, which no Auto class can load
  if (config['model_type'] === undefined && 'type_vocab_size' in config) return 'BertForPreTraining'
  return classOfFamily[familyOf(config) ?? 'decoder']
}

const classOfFamily: Readonly<Record<Architecture['family'], string>> = {
  decoder: 'AutoModelForCausalLM',
  encoder: 'AutoModelForMaskedLM',
  encoderDecoder: 'AutoModelForSeq2SeqLM',
}

async function readWhole(path: string, limit: number): Promise<Uint8Array<ArrayBuffer>> {
  const file = await openCheckpointFile(path)
  try {
    checkSize(path, file.size, limit)
    return await file.read(0, file.size)
  } finally {
    await file.close()
  }
}

function checkSize(path: string, bytes: number, limit: number): void {
  if (bytes <= limit) return
  throw new CheckpointError(`${path}: has ${bytes} bytes, expected at most ${limit}; is it the right file?`)
}
