import { isDeepStrictEqual } from 'node:util'
import { UnsupportedModelError } from '../errors.ts'
import type { Architecture, Sizes, StackTable } from '../model/architecture.ts'
import type { Model } from '../model/model.ts'
import { stackSizes } from '../model/plan.ts'
import type { BlockKind, ModelConfig, StackName } from '../types.ts'
import type { Layout, NewLayer } from './layout.ts'
import type { StackWidths, UniformWidths } from './widths.ts'

/** Keys that hold the number of layers; a family reads one of them, and others are its older names. */
const layerCountKeys: Readonly<
  Record<Architecture['family'], Readonly<Partial<Record<StackName, readonly string[]>>>>
> = {
  decoder: { decoder: ['num_hidden_layers', 'n_layer', 'n_layers', 'num_layers'] },
  encoder: { encoder: ['num_hidden_layers', 'n_layers', 'num_layers'] },
  encoderDecoder: {
    encoder: ['encoder_layers', 'num_layers', 'num_hidden_layers'],
    decoder: ['decoder_layers', 'num_decoder_layers'],
  },
}

/** Lists of config.json with one entry a layer, which belongs to the attention. */
const perLayerKeys = ['layer_types', 'no_rope_layers', 'attention_layers']

/** Keys that hold the width of the mlp, in every stack or in this one. */
const channelKeys = (stack: StackName) => [
  'intermediate_size',
  'n_inner',
  'ffn_dim',
  'ffn_hidden_size',
  'hidden_dim',
  'd_ff',
  `${stack}_ffn_dim`,
]

type Widths = UniformWidths['stacks']

/**
 * The config of a stock checkpoint with the layers of `layout` and the widths given, else those of the dense model; all other
 * fields stay. Written for a custom layout too, whose missing blocks it does not know. `auto_map` goes: it points to files
 * that are not carried along, and the families here need none. Only for what `hasStockConfig` finds words for.
 */
export function stockConfig(model: Model, layout: Layout, widths: Widths = {}): ModelConfig {
  const cut = cutConfig(model, layout, widths)
  const { architecture, config } = model
  const lacking = misread(architecture, config, cut, layout, widths)
  if (lacking === undefined) return cut
  throw new RangeError(`config.json of model_type "${config['model_type']}" has no way to say ${lacking}`)
}

/**
 * Whether the family's config has words for the layers of `layout` with these widths, else those of the dense model: whether the
 * architecture, reading the cut config, sees the same blocks.
 */
export function hasStockConfig(model: Model, layout: Layout, widths: Widths = {}): boolean {
  const { architecture, config } = model
  return misread(architecture, config, cutConfig(model, layout, widths), layout, widths) === undefined
}

function cutConfig({ architecture, config }: Model, layout: Layout, widths: Widths): ModelConfig {
  const { auto_map: _, ...cut }: Record<string, unknown> = { ...config }
  for (const [stack, table] of Object.entries(architecture.stacks) as [StackName, StackTable][]) {
    const keys = layerCountKeys[architecture.family][stack] ?? []
    const layers = layout.stacks[stack] ?? []
    const present = keys.filter((name) => typeof config[name] === 'number')
    // T5's decoder is as deep as its encoder where the config does not say
    for (const key of present.length > 0 ? present : keys.slice(-1)) cut[key] = layers.length
    if (stack === 'decoder') cutPerLayer(cut, layers, config, table)
  }
  for (const [stack, own] of Object.entries(widths)) narrow(cut, architecture, config, stack as StackName, own)
  return cut
}

/** Lists keep the entries of the attentions that stay; an mlp alone takes that of the attention after it. */
function cutPerLayer(
  cut: Record<string, unknown>,
  layers: readonly NewLayer[],
  config: ModelConfig,
  table: StackTable,
): void {
  const oldLayers = table.layers(config)
  const sources = entrySources(layers)
  cut['layer_types'] ??= impliedLayerTypes(config, table)
  if (cut['layer_types'] === undefined) delete cut['layer_types']
  for (const key of perLayerKeys) {
    const list = cut[key]
    if (Array.isArray(list) && list.length === oldLayers) cut[key] = sources.map((layer) => list[layer])
  }
  // qwen2: the layers below it see everything, those from it on only their window
  const fullLayers = cut['max_window_layers']
  if (typeof fullLayers === 'number') {
    cut['max_window_layers'] = sources.filter((layer) => layer < fullLayers).length
  }
}

/** What a rule of the family by layer number means (every other, every sixth), written out: the numbers will change. */
function impliedLayerTypes(config: ModelConfig, table: StackTable): string[] | undefined {
  const attention = table.blocks.find(({ kind }) => kind === 'attention')
  const types = Array.from({ length: table.layers(config) }, (_, layer) => {
    const form = attention?.form(config, layer)
    return form !== undefined && 'window' in form && form.window !== undefined ? 'sliding_attention' : 'full_attention'
  })
  return new Set(types).size > 1 ? types : undefined
}

/**
 * The old layer whose per-layer entries a new layer takes. Without an attention of its own it is the next one's, else
 * the last one's: so the first entry is always that of a living attention, and the key/value cache of its type exists.
 */
function entrySources(layers: readonly NewLayer[]): number[] {
  const sources: (number | undefined)[] = layers.map((layer) => layer.attention)
  for (let i = sources.length - 2; i >= 0; i--) sources[i] ??= sources[i + 1]
  for (let i = 1; i < sources.length; i++) sources[i] ??= sources[i - 1]
  return sources.map((source, i) => source ?? Object.values(layers[i]!)[0] ?? i)
}

/** Writes the sizes that differ from those of `config`; heads in the words of Llama and its relatives. */
function narrow(
  cut: Record<string, unknown>,
  architecture: Architecture,
  config: ModelConfig,
  stack: StackName,
  { K, F }: StackWidths,
): void {
  const sizes = sizesIn(architecture, config, stack)
  if (K !== undefined && K !== sizes['K']) {
    cut['num_attention_heads'] = K * (sizes['G'] ?? 1)
    cut['num_key_value_heads'] = K
    // else it would be guessed as hidden size / heads
    cut['head_dim'] = sizes['E']
  }
  if (F !== undefined && F !== sizes['F']) {
    const keys = channelKeys(stack)
    const present = keys.filter((key) => key in config)
    for (const key of present) cut[key] = F
    if (present.length === 0) {
      // the width is a default; the key is the one that the family reads
      const read = keys.find((key) => sizesIn(architecture, { ...config, [key]: F }, stack)['F'] === F)
      if (read !== undefined) cut[read] = F
    }
  }
}

/** What the new config does not say as the old one said it, block for block; undefined: nothing. */
function misread(
  architecture: Architecture,
  config: ModelConfig,
  cut: ModelConfig,
  layout: Layout,
  widths: Widths,
): string | undefined {
  for (const [stack, table] of Object.entries(architecture.stacks) as [StackName, StackTable][]) {
    const dense = sizesIn(architecture, config, stack)
    const read = sizesOrNone(architecture, cut, stack)
    // where no block is left that has a width, any will do
    const { K = read?.['K'], F = read?.['F'] } = widths[stack] ?? dense
    if (!isDeepStrictEqual(read, { ...dense, K, F })) return 'the widths that are left'
    const layers = layout.stacks[stack] ?? []
    if (table.layers(cut) !== layers.length) return 'the layers that are left'
    for (const [layer, blocks] of layers.entries()) {
      for (const { kind, form } of table.blocks) {
        const old: number | undefined = blocks[kind as BlockKind]
        if (old === undefined) continue
        if (K !== dense['K'] && hasLongRope(form(config, old))) {
          return "fewer heads beside LongRoPE's factors, whose number transformers checks by hidden_size / heads"
        }
        if (!isDeepStrictEqual(form(cut, layer), form(config, old))) {
          return `layer ${layer}, whose ${kind} was in layer ${old}`
        }
      }
    }
  }
  return undefined
}

const hasLongRope = (form: ReturnType<StackTable['blocks'][number]['form']>): boolean =>
  'positions' in form && form.positions.type === 'rotary' && form.positions.rope.long !== undefined

function sizesIn(architecture: Architecture, config: ModelConfig, stack: StackName): Sizes {
  return stackSizes({ architecture, config, sizes: architecture.sizes(config) }, stack)
}

/** A table refuses widths that the family cannot have, such as heads that do not share the hidden size evenly. */
function sizesOrNone(architecture: Architecture, config: ModelConfig, stack: StackName): Sizes | undefined {
  try {
    return sizesIn(architecture, config, stack)
  } catch (error) {
    if (error instanceof UnsupportedModelError) return undefined
    throw error
  }
}
