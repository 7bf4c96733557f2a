import { z } from 'zod'
import { CheckpointError } from '../errors.ts'
import type { BlockId, ModelConfig, StackName } from '../types.ts'
import type { Architecture, StackTable } from './architecture.ts'
import type { OpenedCheckpoint } from './describe.ts'
import { findArchitecture } from './families.ts'
import { stackSizes } from './plan.ts'
import type { AutoClass, TransformersClasses } from './transformersClasses.ts'

/** `model_type` of an export that only remote code can load. */
export const customModelType = 'blockpruner'

/** Name of the file beside config.json that `auto_map` points to, without `.py`. */
export const remoteModule = 'modeling_blockpruner'

/** A layer count, and a head count, that no published model reaches; a longer list is a damaged file. */
const maxLayers = 10_000

const number = z.number().int().min(0)

const ofBlock = {
  /** Layer of the model before pruning that the block comes from; for people, nothing depends on it. */
  from_layer: number.optional(),
  /** The output matrix has a bias that the family does not have. */
  bias: z.boolean().optional(),
}

const attentionSchema = z.object({
  ...ofBlock,
  /** The heads that are left, ascending numbers of those of the dense model; absent: all; none: only the norm behind is left. */
  heads: z.array(number).max(maxLayers).optional(),
})

const mlpSchema = z.object({
  ...ofBlock,
  /** How many channels are left; absent: all; 0: only the norm behind is left. */
  channels: number.optional(),
})

/** What one layer of a custom export has; a block that is not there is not named. */
const layerSchema = z.object({
  attention: attentionSchema.optional(),
  crossAttention: attentionSchema.optional(),
  mlp: mlpSchema.optional(),
})

const customConfigSchema = z.looseObject({
  model_type: z.literal(customModelType),
  base_model_type: z.string(),
  block_layout: z.object({
    encoder: z.array(layerSchema).max(maxLayers).optional(),
    decoder: z.array(layerSchema).max(maxLayers).optional(),
  }),
})

export type CustomLayer = z.infer<typeof layerSchema>
export type CustomLayout = Readonly<Partial<Record<StackName, readonly CustomLayer[]>>>

/** A custom export as its base family sees it: the stock config, complete and unpruned in width, and what is missing of it. */
export type CustomModel = Required<Pick<OpenedCheckpoint, 'config' | 'absent' | 'units' | 'heads'>>

/** The config of a custom export: `stock`, the cut config of the family, and what each layer has. */
export function customConfig(stock: ModelConfig, architecture: Architecture, layout: CustomLayout): ModelConfig {
  const classes = classesOf(architecture, stock)
  return {
    ...stock,
    architectures: [remoteClassName(headOf(architecture, classes, stock))],
    auto_map: {
      AutoConfig: `${remoteModule}.BlockPrunerConfig`,
      ...Object.fromEntries(autoClassesOf(classes).map((auto) => [auto, `${remoteModule}.${remoteClassName(auto)}`])),
    },
    model_type: customModelType,
    base_model_type: stock['model_type'],
    block_layout: layout,
  }
}

/** The classes of transformers for `config`, of the family that it is. */
export function classesOf(architecture: Architecture, config: ModelConfig): TransformersClasses {
  const classes = architecture.transformers[`${config['model_type']}`]
  if (classes === undefined) {
    throw new RangeError(`model_type "${config['model_type']}" has no classes in the table of its architecture`)
  }
  return classes
}

/** The auto classes that load an export of the family, the model without a head first. */
export function autoClassesOf({ models }: TransformersClasses): AutoClass[] {
  return Object.keys(models) as AutoClass[]
}

/** The class of the remote code for an auto class: `BlockPrunerForCausalLM`. */
export function remoteClassName(auto: AutoClass): string {
  return auto === 'AutoModel' ? 'BlockPrunerModel' : auto.replace('AutoModel', 'BlockPruner')
}

/** The auto class that the checkpoint itself was saved from, else the one that generates text. */
function headOf({ family }: Architecture, classes: TransformersClasses, stock: ModelConfig): AutoClass {
  const [saved] = Array.isArray(stock['architectures']) ? stock['architectures'] : []
  const named = autoClassesOf(classes).find((auto) => classes.models[auto] === saved)
  if (named !== undefined) return named
  const byFamily = {
    decoder: 'AutoModelForCausalLM',
    encoderDecoder: 'AutoModelForSeq2SeqLM',
    encoder: 'AutoModel',
  } as const
  return byFamily[family]
}

/** Whether config.json describes a custom export, which `readCustomConfig` takes apart. */
export function isCustomConfig(config: ModelConfig): boolean {
  return config['model_type'] === customModelType
}

/**
 * The base family's view of a custom export: open the folder with `config` and leave out the blocks in `absent`. Layers
 * are numbered as in the export. Throws `CheckpointError` naming the path of what is wrong in config.json.
 */
export function readCustomConfig(config: ModelConfig): CustomModel {
  const result = customConfigSchema.safeParse(config)
  if (!result.success) {
    const issue = result.error.issues[0]
    const path = issue?.path.join('.') ?? ''
    throw new CheckpointError(
      `config.json: ${path}: ${issue?.message ?? 'unexpected value'}; was this folder written by blockpruner?`,
    )
  }
  const { block_layout: layout, base_model_type: modelType, auto_map: _, ...rest } = result.data
  const architecture = findArchitecture({ model_type: modelType })
  const classes = classesOf(architecture, { model_type: modelType })
  const head = autoClassesOf(classes).find((auto) => rest['architectures']?.toString() === remoteClassName(auto))
  const stock = {
    ...rest,
    ...(head !== undefined && { architectures: [classes.models[head]] }),
    model_type: modelType,
  }
  const absent: BlockId[] = []
  const units: Partial<Record<BlockId, number>> = {}
  const heads: Partial<Record<BlockId, readonly number[]>> = {}
  const sizes = architecture.sizes(stock)
  for (const [stack, table] of Object.entries(architecture.stacks) as [StackName, StackTable][]) {
    const dense = stackSizes({ architecture, config: stock, sizes }, stack)
    const layers = layout[stack] ?? []
    if (layers.length !== table.layers(stock)) {
      throw new CheckpointError(
        `config.json: block_layout.${stack} has ${layers.length} entries, expected one for each of ${table.layers(stock)} layers; write the export again`,
      )
    }
    for (const [layer, has] of layers.entries()) {
      for (const { kind } of table.blocks) {
        const id: BlockId = `${stack}.${layer}.${kind}`
        const block = has[kind]
        if (block === undefined) {
          absent.push(id)
        } else if ('heads' in block && block.heads !== undefined) {
          checkHeads(block.heads, dense['K']!, `block_layout.${stack}.${layer}.${kind}.heads`)
          units[id] = block.heads.length
          heads[id] = block.heads
        } else if ('channels' in block && block.channels !== undefined) {
          units[id] = block.channels
        }
      }
    }
  }
  return { config: stock, absent, units, heads }
}

function checkHeads(heads: readonly number[], dense: number, path: string): void {
  const wrong = heads.find((head, i) => head >= dense || (i > 0 && head <= heads[i - 1]!))
  if (wrong === undefined) return
  throw new CheckpointError(
    `config.json: ${path}: has ${wrong}, expected ascending numbers below ${dense}; was this folder written by blockpruner?`,
  )
}
