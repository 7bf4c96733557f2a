import { join } from 'node:path'
import { CheckpointError, UnsupportedModelError } from '../errors.ts'
import { writeFileAtomic } from '../format/atomicFile.ts'
import { publishFolder } from '../format/atomicFolder.ts'
import { bytesPerElement, isSafetensorsType, type SafetensorsType } from '../format/safetensors/dtypes.ts'
import { type TensorSource, writeSafetensors } from '../format/safetensors/write.ts'
import type { Sizes } from '../model/architecture.ts'
import { keptRuns, shapeOf, sliceTensor } from '../model/axes.ts'
import type { Model } from '../model/model.ts'
import { checkPlan } from '../model/plan.ts'
import type { Block, BlockKind, ModelConfig, PruningPlan, StackName, TensorInfo, WeightStore } from '../types.ts'
import { type CustomLayer, customConfig } from './customConfig.ts'
import { type ExportForm, type Layout, layoutOf } from './layout.ts'
import { type MeasuredPerplexity, modelCard } from './modelCard.ts'
import { remoteCode, remoteFamilies, remoteFamilyOf, remoteModule } from './remoteCode.ts'
import { stockConfig } from './stockConfig.ts'
import { type UniformWidths, uniformWidths, unitOf, widthsOf } from './widths.ts'

export interface HuggingFaceExportOptions {
  /** Hub id of the dense model, for the card. */
  readonly baseModel?: string
  /** Licence identifier of the dense model, for the card: `apache-2.0`. */
  readonly license?: string
  /** How the blocks were chosen, one line for the card. */
  readonly method?: string
  /** Perplexities for the card; the export measures nothing itself. */
  readonly measured?: MeasuredPerplexity
  /** Bytes of tensor data in one file; default 5·10⁹. */
  readonly maxShardBytes?: number
  /** Replace a folder that has files in it; without it such a folder is refused. */
  readonly replace?: boolean
  readonly signal?: AbortSignal
  /** Called after each tensor, with the bytes of tensor data written so far and in all. */
  readonly onProgress?: (writtenBytes: number, totalBytes: number) => void
}

export interface HuggingFaceExport {
  readonly form: ExportForm
  /** Old layers of the blocks of each new layer. */
  readonly layout: Layout
  /** Parameters of the pruned model; a tied head counts once. */
  readonly parameters: number
}

/**
 * Writes `model` without what `plan` leaves out as a folder that transformers loads: config.json, safetensors, the
 * tokenizer files of the dense model and a model card. Whole layers and pairs of branches that pack into layers give a
 * stock checkpoint, also with one smaller width for all; anything else a `custom` one with a small modeling file, for
 * the families in `remoteFamilies`.
 *
 * Tensors keep their stored type, except that GGUF's quantised types, which safetensors does not have, are written as
 * F32: exact, and larger. The folder appears whole or not at all. Nothing is run: reopen the folder to verify it.
 *
 * Throws `PlanError` for a plan that does not fit, `UnsupportedModelError` where the family has no form for it, and
 * `OutputError` where the folder cannot be written.
 */
export async function exportHuggingFace(
  model: Model,
  plan: PruningPlan,
  directory: string,
  options: HuggingFaceExportOptions = {},
): Promise<HuggingFaceExport> {
  const pruned = describeExport(model, plan)
  const { layout, form, tensors, parameters } = pruned
  const code = pruned.remoteFamily === undefined ? undefined : remoteCode(pruned.remoteFamily)
  const kept = new Set(pruned.blocks.map(({ block }) => block.id))
  const card = modelCard({
    modelId: model.id,
    baseModel: options.baseModel,
    license: options.license,
    method: options.method,
    measured: options.measured,
    form,
    layers: { dense: layersOf(model), pruned: Object.values(layout.stacks).flat().length },
    parameters: { dense: model.parameters, pruned: parameters },
    removed: model.blocks.filter((block) => !kept.has(block.id)),
    narrowed: pruned.blocks
      .map(({ block, kept: units }) => ({ block, removedUnits: block.units - units.length }))
      .filter(({ removedUnits }) => removedUnits > 0),
  })
  await publishFolder(
    directory,
    async (folder) => {
      const { maxShardBytes, signal, onProgress } = options
      await writeSafetensors(folder, tensors, {
        ...(maxShardBytes === undefined ? {} : { maxShardBytes }),
        ...(onProgress === undefined ? {} : { onProgress }),
        signal,
      })
      for (const [name, read] of model.assets) await writeFileAtomic(join(folder, name), await read())
      if (code !== undefined) await writeFileAtomic(join(folder, `${remoteModule}.py`), code)
      await writeFileAtomic(join(folder, 'README.md'), card)
      await writeFileAtomic(join(folder, 'config.json'), `${JSON.stringify(pruned.config, undefined, 2)}\n`)
    },
    { replace: options.replace ?? false, signal: options.signal },
  )
  return { form, layout, parameters }
}

/** A block that stays: its place among the new layers, and its units that stay. */
interface PlacedBlock {
  readonly block: Block
  readonly newLayer: number
  readonly kept: readonly number[]
}

/** Everything of an export but the writing; reads no weights. */
export function describeExport(model: Model, plan: PruningPlan) {
  checkPlan(model, plan)
  const layout = layoutOf(model, plan)
  const widths = widthsOf(model, plan)
  const uniform = uniformWidths(model, widths)
  const blocks: PlacedBlock[] = []
  for (const [stack, layers] of Object.entries(layout.stacks)) {
    for (const [newLayer, members] of layers.entries()) {
      for (const [kind, layer] of Object.entries(members)) {
        const block = blockAt(model, stack as StackName, layer, kind as BlockKind)
        blocks.push({ block, newLayer, kept: widths.get(block.id) ?? [] })
      }
    }
  }
  const isStock = layout.form !== 'custom' && uniform.isUniform && stockHeadsLoad(model, uniform)
  const tensors = tensorsOf(model, blocks)
  const config = withStoredType(
    isStock
      ? stockConfig(model.architecture, model.config, layout, uniform)
      : stockConfig(model.architecture, model.config, layout, { K: undefined, F: undefined }),
    tensors,
  )
  const form: ExportForm = isStock ? layout.form : 'custom'
  const parameters = tensors.reduce((total, { shape }) => total + shape.reduce((count, size) => count * size, 1), 0)
  if (isStock) return { form, layout, blocks, tensors, config, parameters, remoteFamily: undefined }

  const family = remoteFamilyOf(model.config['model_type'])
  if (family === undefined) {
    throw new UnsupportedModelError(
      `export: the blocks left of ${model.id} fit no stock layer, and there is no remote code for model_type ` +
        `"${model.config['model_type']}", expected one of ${Object.keys(remoteFamilies).join(', ')}; remove whole layers, or export to ONNX`,
    )
  }
  const custom = customConfig(explicitHeadDim(config, model.sizes), family, customLayers(model.sizes, layout, blocks))
  return { form, layout, blocks, tensors, config: custom, parameters, remoteFamily: family }
}

function blockAt(model: Model, stack: StackName, layer: number, kind: BlockKind): Block {
  const found = model.blocks.find((block) => block.stack === stack && block.layer === layer && block.kind === kind)
  if (found === undefined) throw new RangeError(`${stack}.${layer}.${kind}: no such block in ${model.id}`)
  return found
}

/** transformers' own config class may refuse a number of heads, see `RemoteFamily`. */
function stockHeadsLoad(model: Model, widths: UniformWidths): boolean {
  const family = remoteFamilyOf(model.config['model_type'])
  if (family === undefined || !remoteFamilies[family].headsDivideHidden || widths.K === undefined) return true
  return model.sizes['D']! % (widths.K * model.sizes['G']!) === 0
}

function explicitHeadDim(config: ModelConfig, sizes: Sizes): ModelConfig {
  return { ...config, head_dim: sizes['E'] }
}

function customLayers(sizes: Sizes, layout: Layout, blocks: readonly PlacedBlock[]): CustomLayer[] {
  return (layout.stacks.decoder ?? []).map((layer, index) => {
    const widthOf = (kind: BlockKind) =>
      blocks.find(({ block, newLayer }) => newLayer === index && block.kind === kind)?.kept.length
    const heads = widthOf('attention')
    const channels = widthOf('mlp')
    return {
      attention: layer.attention !== undefined,
      mlp: layer.mlp !== undefined,
      ...(layer.attention !== undefined && { attention_from_layer: layer.attention }),
      ...(layer.mlp !== undefined && { mlp_from_layer: layer.mlp }),
      ...(heads !== undefined &&
        heads !== sizes['K'] && { num_attention_heads: heads * sizes['G']!, num_key_value_heads: heads }),
      ...(channels !== undefined && channels !== sizes['F'] && { intermediate_size: channels }),
    }
  })
}

/** The outer weights under their own names and the blocks' under their new layer numbers, cut to the units that stay. */
function tensorsOf(model: Model, blocks: readonly PlacedBlock[]): TensorSource[] {
  const sources = new Map<string, TensorSource>()
  for (const [name] of Object.values(model.outer)) sources.set(name, wholeTensor(model.weights, name, name))
  for (const { block, newLayer, kept } of blocks) {
    const unit = unitOf(model, block)
    const sizes = { ...model.sizes, [unit]: block.units }
    const names = model.architecture.stacks[block.stack]?.blocks
      .find(({ kind }) => kind === block.kind)
      ?.weights(model.config)
    for (const [role, [name, axes]] of Object.entries(block.weights)) {
      const newName = names?.[role]?.[0].replace('{layer}', `${newLayer}`)
      if (newName === undefined) throw new RangeError(`${block.id}: the architecture has no name for ${role}`)
      const source = wholeTensor(model.weights, name, newName)
      sources.set(newName, kept.length === block.units ? source : cutTensor(source, axes, sizes, unit, kept))
    }
  }
  return [...sources.values()]
}

/** The stored bytes, or the float32 values where safetensors does not have the stored type. */
function wholeTensor(weights: WeightStore, name: string, newName: string): TensorSource {
  const { type, shape } = infoOf(weights, name)
  if (isSafetensorsType(type)) return { name: newName, type, shape, data: () => weights.readBytes(name) }
  return {
    name: newName,
    type: 'F32',
    shape,
    async data() {
      return new Uint8Array((await weights.read(name)).buffer)
    },
  }
}

function infoOf(weights: WeightStore, name: string): TensorInfo {
  const info = weights.tensors.get(name)
  if (info === undefined) throw new CheckpointError(`tensor "${name}" is missing; is config.json from another model?`)
  return info
}

function cutTensor(
  source: TensorSource,
  axes: string,
  sizes: Sizes,
  unit: 'K' | 'F',
  kept: readonly number[],
): TensorSource {
  const runs = keptRuns(axes, sizes, unit, kept)
  return {
    ...source,
    shape: shapeOf(axes, { ...sizes, [unit]: kept.length }),
    async data() {
      return sliceTensor(await source.data(), bytesPerElement[source.type], source.shape, runs)
    },
  }
}

/** Names of `config.json` for the stored types it can say. */
const dtypeNames: Partial<Readonly<Record<SafetensorsType, string>>> = {
  F64: 'float64',
  F32: 'float32',
  F16: 'float16',
  BF16: 'bfloat16',
}

/** `dtype`, under the key the config already uses, says the type of most stored elements. */
function withStoredType(config: ModelConfig, tensors: readonly TensorSource[]): ModelConfig {
  const elements = new Map<string, number>()
  for (const { type, shape } of tensors) {
    const name = dtypeNames[type]
    const count = shape.reduce((product, size) => product * size, 1)
    if (name !== undefined) elements.set(name, (elements.get(name) ?? 0) + count)
  }
  const [most] = [...elements].sort(([, a], [, b]) => b - a)
  if (most === undefined) return config
  const key = config['torch_dtype'] !== undefined && config['dtype'] === undefined ? 'torch_dtype' : 'dtype'
  return { ...config, [key]: most[0] }
}

function layersOf(model: Model): number {
  return new Set(model.blocks.map(({ stack, layer }) => `${stack}.${layer}`)).size
}
