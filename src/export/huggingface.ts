import { join } from 'node:path'
import { CheckpointError } from '../errors.ts'
import { writeFileAtomic } from '../format/atomicFile.ts'
import { publishFolder } from '../format/atomicFolder.ts'
import { isSafetensorsType, type SafetensorsType } from '../format/safetensors/dtypes.ts'
import { type TensorSource, writeSafetensors } from '../format/safetensors/write.ts'
import { applyPlan, originalUnits } from '../model/applyPlan.ts'
import { type CustomLayer, type CustomLayout, classesOf, customConfig, remoteModule } from '../model/customConfig.ts'
import type { DescribedBlock, Model } from '../model/model.ts'
import { outputRoles, withOutputBias } from '../model/outputBias.ts'
import { emptyPlan, stackSizes } from '../model/plan.ts'
import { tasksOf } from '../model/task.ts'
import type { BlockKind, ModelConfig, PruningPlan, StackName, StopSignal, WeightStore, WeightTable } from '../types.ts'
import { writeAssets } from './assets.ts'
import { configText } from './configText.ts'
import { denseCardOf } from './denseCard.ts'
import { exportRecord, withRecord } from './exportRecord.ts'
import { type ExportForm, type Layout, layoutInPlace, layoutOf, type NewLayer } from './layout.ts'
import { type MeasuredLoss, modelCard } from './modelCard.ts'
import { remoteCode } from './remoteCode.ts'
import { hasStockConfig, stockConfig } from './stockConfig.ts'
import { type UniformWidths, uniformWidths, widthsOf } from './widths.ts'

export interface HuggingFaceExportOptions {
  /** Hub id of the dense model, for the card. */
  readonly baseModel?: string
  /** Licence identifier of the dense model, for the card: `apache-2.0`. */
  readonly license?: string
  /** How the blocks were chosen, one line for the card. */
  readonly method?: string
  /** Losses for the card; the export measures nothing itself. */
  readonly measured?: MeasuredLoss
  /** Bytes of tensor data in one file; default 5·10⁹. */
  readonly maxShardBytes?: number
  /** Replace a folder that has files in it; without it such a folder is refused. */
  readonly replace?: boolean
  readonly signal?: StopSignal
  /** Called after each tensor, with the bytes of tensor data written so far and in all. */
  readonly onProgress?: (writtenBytes: number, totalBytes: number) => void
}

export interface HuggingFaceExport {
  readonly form: ExportForm
  /** Old layers of the blocks of each new layer; none of one that is there for its number alone. */
  readonly layout: Layout
  /** Parameters of the pruned model; a tied head counts once. */
  readonly parameters: number
}

/**
 * Writes `model` without what `plan` leaves out as a folder that transformers loads: config.json, safetensors, the
 * tokenizer files of the dense model and a model card. Whole layers and pairs of branches that pack into layers give a
 * stock checkpoint, also with one smaller width for all where the family's config can say it; anything else a `custom`
 * one with a small modeling file.
 *
 * Tensors keep their stored type, except that GGUF's quantised types, which safetensors does not have, are written as
 * F32: exact, and larger. The folder appears whole or not at all. Nothing is run: reopen the folder to verify it.
 *
 * Throws `PlanError` for a plan that does not fit, and `OutputError` where the folder cannot be written.
 */
export async function exportHuggingFace(
  model: Model,
  plan: PruningPlan,
  directory: string,
  options: HuggingFaceExportOptions = {},
): Promise<HuggingFaceExport> {
  const { form, layout, config, remote, tensors, pruned } = describeExport(model, plan)
  const units = new Map(pruned.blocks.map((block) => [block.id, block.units]))
  const parameters = elementsOf(tensors)
  const recorded = withRecord(config, await exportRecord(model, plan))
  const card = modelCard({
    modelId: model.id,
    task: tasksOf(model)[0]!,
    baseModel: options.baseModel,
    license: options.license,
    dense: await denseCardOf(model),
    method: options.method,
    measured: options.measured,
    form,
    layers: { dense: layersOf(model), pruned: layersWithBlocks(layout) },
    parameters: { dense: model.parameters, pruned: parameters },
    removed: model.blocks.filter((block) => !units.has(block.id)),
    narrowed: model.blocks
      .map((block) => ({ block, removedUnits: block.units - (units.get(block.id) ?? block.units) }))
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
      await writeAssets(model, folder)
      if (remote !== undefined) await writeFileAtomic(join(folder, `${remoteModule}.py`), remote)
      await writeFileAtomic(join(folder, 'README.md'), card)
      await writeFileAtomic(join(folder, 'config.json'), await configText(model, recorded))
    },
    { replace: options.replace ?? false, signal: options.signal },
  )
  return { form, layout, parameters }
}

function elementsOf(tensors: readonly TensorSource[]): number {
  return tensors.reduce((total, { shape }) => total + shape.reduce((size, length) => size * length, 1), 0)
}

/** Everything of an export but the writing; reads no weights. Throws as `exportHuggingFace` does. */
export function describeExport(model: Model, plan: PruningPlan) {
  const pruned = applyPlan(model, plan)
  const packed = layoutOf(pruned, emptyPlan)
  // where what a block computes goes by the number of its layer (GPT-2's scale can), it stays in its layer
  const layout = hasStockConfig(model, packed) ? packed : layoutInPlace(pruned)
  const widths = uniformWidths(pruned, widthsOf(pruned, emptyPlan))
  const tensors = tensorsOf(pruned, layout, stockConfig(model, layout))
  const classes = classesOf(model.architecture, model.config)
  if (fitsStockClasses(model, pruned, layout, widths)) {
    const config = withStoredType(stockConfig(model, layout, widths.stacks), tensors)
    return { form: layout.form, layout, config, tensors, pruned, remote: undefined }
  }
  const { architecture } = model
  const { parameterNames = {} } = classes
  const stock = withStoredType(stockConfig(model, layout), tensors)
  return {
    form: 'custom' as ExportForm,
    layout,
    config: customConfig(stock, architecture, customLayout(pruned, layout)),
    // transformers renames what it loads for its own classes only
    tensors: tensors.map((tensor) => ({ ...tensor, name: parameterNames[tensor.name] ?? tensor.name })),
    pruned,
    remote: remoteCode(architecture, stock),
  }
}

/** Whether `model` without `plan` is a checkpoint for transformers' own classes. */
export function isStockPlan(model: Model, plan: PruningPlan): boolean {
  const pruned = applyPlan(model, plan)
  return fitsStockClasses(
    model,
    pruned,
    layoutOf(pruned, emptyPlan),
    uniformWidths(pruned, widthsOf(pruned, emptyPlan)),
  )
}

function fitsStockClasses(model: Model, pruned: Model, layout: Layout, widths: UniformWidths): boolean {
  const classes = classesOf(model.architecture, model.config)
  return (
    layout.form !== 'custom' &&
    classes.isForeign !== true &&
    widths.isUniform &&
    !pruned.blocks.some((block) => hasAddedBias(pruned, block)) &&
    stockHeadsLoad(model, widths) &&
    hasStockConfig(model, layout, widths.stacks) &&
    (classes.takesDepths?.(stockConfig(model, layout, widths.stacks)) ?? true)
  )
}

/** transformers' own classes may refuse a number of heads that config.json can say, see `TransformersClasses`. */
function stockHeadsLoad({ architecture, config, sizes }: Model, { stacks }: UniformWidths): boolean {
  const { takesHeads } = classesOf(architecture, config)
  return Object.values(stacks).every(({ K }) => K === undefined || (takesHeads?.(config, K * sizes['G']!) ?? true))
}

/** What each new layer has, and the units of its blocks where they are not those of the config. */
function customLayout(pruned: Model, { stacks }: Layout): CustomLayout {
  return Object.fromEntries(
    (Object.entries(stacks) as [StackName, readonly NewLayer[]][]).map(([stack, layers]) => [
      stack,
      layers.map((members): CustomLayer => {
        const entries = Object.entries(members) as [BlockKind, number][]
        return Object.fromEntries(
          entries.map(([kind, layer]) => {
            const block = blockAt(pruned, stack, kind, layer)
            const bias = hasAddedBias(pruned, block) && { bias: true }
            return [kind, { from_layer: layer, ...unitsLeft(pruned, block), ...bias }]
          }),
        )
      }),
    ]),
  )
}

/** Whether a plan gave the output matrix of `block` a bias that the family does not have. */
function hasAddedBias({ config }: Model, { kind, layer, weights, table }: DescribedBlock): boolean {
  const role = outputRoles[kind].bias
  return weights[role] !== undefined && table.weights(config, layer)[role] === undefined
}

function unitsLeft(pruned: Model, block: DescribedBlock): Partial<CustomLayer['attention'] & CustomLayer['mlp']> {
  if (block.units === stackSizes(pruned, block.stack)[block.table.unit]) return {}
  if (block.kind === 'mlp') return { channels: block.units }
  return { heads: block.units === 0 ? [] : originalUnits(pruned, block) }
}

function blockAt(model: Model, stack: StackName, kind: BlockKind, layer: number): DescribedBlock {
  const blocks = [...model.blocks, ...model.bareNorms]
  const found = blocks.find((block) => block.stack === stack && block.kind === kind && block.layer === layer)
  if (found === undefined) throw new RangeError(`${stack}.${layer}.${kind}: no such block in ${model.id}`)
  return found
}

/** Every tensor once, under the names the architecture's table gives it, whatever the spelling of the checkpoint. */
function tensorsOf(pruned: Model, layout: Layout, cut: ModelConfig): TensorSource[] {
  const { architecture, config, weights } = pruned
  const sources = new Map<string, TensorSource>()
  const add = (table: WeightTable, names: WeightTable | undefined, layer: number) => {
    for (const [role, [stored]] of Object.entries(table)) {
      const name = names?.[role]?.[0].replace('{layer}', `${layer}`)
      if (name === undefined) throw new RangeError(`${pruned.id}: the architecture has no name for the role ${role}`)
      sources.set(name, sourceOf(weights, stored, name))
    }
  }
  const has = (name: string) => [name, ...(architecture.spellings?.(name) ?? [])].some((s) => weights.tensors.has(s))
  // a stack without layers has no use for what they shared
  const names = architecture.outer(cut, has)
  add(Object.fromEntries(Object.entries(pruned.outer).filter(([role]) => role in names)), names, 0)
  for (const [stack, layers] of Object.entries(layout.stacks) as [StackName, readonly NewLayer[]][]) {
    for (const [newLayer, members] of layers.entries()) {
      for (const [kind, layer] of Object.entries(members) as [BlockKind, number][]) {
        const block = blockAt(pruned, stack, kind, layer)
        const names = block.table.weights(config, layer)
        add(block.weights, hasAddedBias(pruned, block) ? withOutputBias(kind, names) : names, newLayer)
      }
    }
  }
  return [...sources.values()]
}

/** The stored bytes, or the float32 values where safetensors does not have the stored type. */
function sourceOf(weights: WeightStore, stored: string, name: string): TensorSource {
  const info = weights.tensors.get(stored)
  if (info === undefined) throw new CheckpointError(`tensor "${stored}" is missing; is config.json from another model?`)
  const { type, shape } = info
  if (isSafetensorsType(type)) return { name, type, shape, data: () => weights.readBytes(stored) }
  return { name, type: 'F32', shape, data: async () => new Uint8Array((await weights.read(stored)).buffer) }
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

function layersWithBlocks({ stacks }: Layout): number {
  return Object.values(stacks)
    .flat()
    .filter((layer) => Object.keys(layer).length > 0).length
}

function layersOf(model: Model): number {
  return new Set(model.blocks.map(({ stack, layer }) => `${stack}.${layer}`)).size
}
