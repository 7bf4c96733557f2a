import { z } from 'zod'
import { CheckpointError } from '../errors.ts'
import type { BlockId, ModelConfig } from '../types.ts'
import { type RemoteFamilyName, remoteFamilies, remoteModule } from './remoteFamilies.ts'

/** `model_type` of an export that only remote code can load. */
export const customModelType = 'blockpruner'

/** A layer count that no published model reaches; a longer list is a damaged file. */
const maxLayers = 10_000

const count = z.number().int().min(1)
const layerNumber = z.number().int().min(0)

/** What one layer of a custom export has. Widths stand here where they differ from those of the config. */
const layerSchema = z.object({
  attention: z.boolean(),
  mlp: z.boolean(),
  /** Layers of the model before pruning that the branches come from; for the reader, nothing depends on them. */
  attention_from_layer: layerNumber.optional(),
  mlp_from_layer: layerNumber.optional(),
  num_attention_heads: count.optional(),
  num_key_value_heads: count.optional(),
  intermediate_size: count.optional(),
})

const customConfigSchema = z.looseObject({
  model_type: z.literal(customModelType),
  base_model_type: z.enum(Object.keys(remoteFamilies) as [RemoteFamilyName, ...RemoteFamilyName[]]),
  num_hidden_layers: z.number().int().min(0),
  block_layout: z.array(layerSchema).max(maxLayers),
})

export type CustomLayer = z.infer<typeof layerSchema>

/** A custom export as its base family sees it. */
export interface CustomModel {
  /** The config of the stock family with as many layers, complete and unpruned in width. */
  readonly config: ModelConfig
  /** Blocks of that family which the checkpoint does not have. */
  readonly absent: readonly BlockId[]
  /** Key/value heads or channels of the blocks that are narrower than the config says. */
  readonly units: Readonly<Partial<Record<BlockId, number>>>
}

/** The config of a custom export: `stock`, the cut config of the family, and what each layer has. */
export function customConfig(
  stock: ModelConfig,
  family: RemoteFamilyName,
  layers: readonly CustomLayer[],
): ModelConfig {
  return {
    ...stock,
    architectures: ['BlockPrunerForCausalLM'],
    auto_map: {
      AutoConfig: `${remoteModule}.BlockPrunerConfig`,
      AutoModel: `${remoteModule}.BlockPrunerModel`,
      AutoModelForCausalLM: `${remoteModule}.BlockPrunerForCausalLM`,
    },
    model_type: customModelType,
    base_model_type: family,
    num_hidden_layers: layers.length,
    block_layout: layers,
  }
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
  const { block_layout: layout, base_model_type: family, num_hidden_layers: layers, ...rest } = result.data
  if (layout.length !== layers) {
    throw new CheckpointError(
      `config.json: block_layout has ${layout.length} entries, expected num_hidden_layers=${layers}; write the export again`,
    )
  }
  const { auto_map: _, ...stock } = rest
  const absent: BlockId[] = []
  const units: Partial<Record<BlockId, number>> = {}
  for (const [layer, has] of layout.entries()) {
    const attention: BlockId = `decoder.${layer}.attention`
    const mlp: BlockId = `decoder.${layer}.mlp`
    if (!has.attention) absent.push(attention)
    else if (has.num_key_value_heads !== undefined) units[attention] = has.num_key_value_heads
    if (!has.mlp) absent.push(mlp)
    else if (has.intermediate_size !== undefined) units[mlp] = has.intermediate_size
  }
  return {
    config: {
      ...stock,
      architectures: [`${remoteFamilies[family].prefix}ForCausalLM`],
      model_type: family,
      num_hidden_layers: layers,
    },
    absent,
    units,
  }
}
