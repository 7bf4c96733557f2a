import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { OutputError } from '../errors.ts'
import type { ExportRecord } from '../export/exportRecord.ts'
import { mergekitYaml } from '../export/mergekit.ts'
import { describeNemotron } from '../export/nemotron.ts'
import { modelBytes, type OnnxModelFile, onnxModels } from '../export/onnx.ts'
import type { DataFile } from '../export/onnxExternalData.ts'
import type { OnnxDtype } from '../export/onnxProducts.ts'
import { openCheckpointFile } from '../format/checkpointFile.ts'
import { decodeOnnx, type OnnxDescription } from '../format/onnx/decode.ts'
import { applyPlan } from '../model/applyPlan.ts'
import { openFolder } from '../model/folder.ts'
import type { Model } from '../model/model.ts'
import type { PruningPlan } from '../types.ts'
import { configIn } from './exportedFiles.ts'

/**
 * Compares a Nemotron folder, which our reader does not open, with what would be written for `plan`: what each layer has, then the
 * tensors, byte for byte. Returns how many there are. Throws `OutputError` that names the first difference.
 */
export async function compareNemotron(path: string, model: Model, plan: PruningPlan): Promise<number> {
  const { tensors, config } = describeNemotron(model, plan)
  const found = await configIn(path)
  for (const key of ['block_configs', 'num_hidden_layers', 'num_attention_heads', 'num_key_value_heads', 'head_dim']) {
    if (JSON.stringify(found[key]) !== JSON.stringify(config[key]))
      throw otherPlan(path, `config.json: "${key}" is not`)
  }
  const { weights } = await openFolder(path)
  try {
    const surplus = [...weights.tensors.keys()].find((name) => !tensors.some((tensor) => tensor.name === name))
    if (surplus !== undefined) throw otherPlan(path, `"${surplus}" is not among`)
    for (const { name, type, shape, data } of tensors) {
      const other = weights.tensors.get(name)
      if (other === undefined || other.type !== type || other.shape.join() !== shape.join()) {
        const has =
          other === undefined ? 'is missing of' : `is ${other.type} [${other.shape}], not ${type} [${shape}] as`
        throw otherPlan(path, `"${name}" ${has}`)
      }
      if (!Buffer.from(await weights.readBytes(name)).equals(await data())) throw otherWeights(path, name)
    }
    return tensors.length
  } finally {
    await weights.close()
  }
}

/**
 * Compares one dtype of an ONNX folder with what would be written for `plan`: constants, inputs and caches, then the data files
 * byte for byte, and the graph where `record` says that this version wrote it. A model that other software wrote is compared by
 * its caches alone. Returns the tensors compared byte for byte. Throws `OutputError` that names the first difference.
 */
export async function compareOnnx(
  path: string,
  model: Model,
  plan: PruningPlan,
  dtype: OnnxDtype,
  record: ExportRecord | undefined,
  version: string,
): Promise<number> {
  const pruned = applyPlan(model, plan)
  let compared = 0
  const fused = onnxModels(pruned, [dtype], 'fused')
  const plain = onnxModels(pruned, [dtype], 'plain')
  for (const [i, file] of fused.entries()) {
    const place = join(path, 'onnx', file.name)
    const bytes = await readFile(place)
    const found = decodeOnnx(bytes, place)
    const expected = found.operators.has('GroupQueryAttention') ? file : plain[i]!
    checkCaches(place, expected, found)
    if (found.producer !== 'blockpruner') continue
    checkConstants(place, expected, found)
    if (record === undefined) continue
    for (const data of expected.data.files) compared += await compareData(join(path, 'onnx', data.name), data)
    if (record.version !== version) continue
    if (!bytes.equals(modelBytes(expected, found.graphName, record))) throw otherPlan(place, 'its graph is not')
  }
  return compared
}

function checkCaches(path: string, { graph }: OnnxModelFile, found: OnnxDescription): void {
  const cachesOf = (inputs: Iterable<readonly [string, readonly (string | number)[]]>) =>
    [...inputs]
      .filter(([name]) => name.startsWith('past_key_values.'))
      .map(([name, dims]) => `${name} ${dims[1]} heads`)
  const wanted = cachesOf(graph.inputs.map(({ name, dims }) => [name, dims])).sort()
  const has = cachesOf(found.inputs).sort()
  const first = wanted.find((cache, i) => cache !== has[i]) ?? has[wanted.length]
  if (first === undefined) return
  throw otherPlan(path, `has ${has.length} caches, ${wanted.length} expected, "${first}" is not as`)
}

function checkConstants(path: string, { graph, data }: OnnxModelFile, found: OnnxDescription): void {
  const wanted = new Map([...graph.initializers, ...data.initializers].map(({ name, dims }) => [name, dims.join()]))
  for (const [name, dims] of wanted) {
    const other = found.initializers.get(name)
    if (other?.join() !== dims)
      throw otherPlan(path, `"${name}" is ${other === undefined ? 'not there' : `[${other}]`}, not`)
  }
  const surplus = [...found.initializers.keys()].find((name) => !wanted.has(name))
  if (surplus !== undefined) throw otherPlan(path, `"${surplus}" is not among`)
}

async function compareData(path: string, { parts }: DataFile): Promise<number> {
  const file = await openCheckpointFile(path)
  try {
    for (const { constant, offset } of parts) {
      let at = offset
      for await (const piece of constant.data()) {
        if (!Buffer.from(await file.read(at, piece.length)).equals(piece)) throw otherWeights(path, constant.name)
        at += piece.length
      }
    }
    return parts.length
  } finally {
    await file.close()
  }
}

/** Compares a recipe with that of `plan`, whatever it calls the dense model. Throws `OutputError` where it is another. */
export async function compareMergekit(path: string, model: Model, plan: PruningPlan): Promise<void> {
  const plainOf = (text: string) =>
    text
      .replace(/^#.*\n/gm, '')
      .replace(/- model: .*/g, '- model:')
      .trim()
  if (plainOf(await readFile(path, 'utf8')) !== plainOf(mergekitYaml(model, plan))) {
    throw otherPlan(path, 'its slices are not')
  }
}

const otherPlan = (path: string, what: string): OutputError =>
  new OutputError(`${path}: ${what} what the plan leaves; it was made of another plan or model, export it anew`)

const otherWeights = (path: string, name: string): OutputError =>
  new OutputError(
    `${path}: the bytes of "${name}" are not those of the plan; the file is damaged or of another model, export it anew`,
  )
