import { isDeepStrictEqual } from 'node:util'
import { UnsupportedModelError } from '../errors.ts'
import type { Architecture } from '../model/architecture.ts'
import type { BlockKind, ModelConfig, StackName } from '../types.ts'
import type { Layout, NewLayer } from './layout.ts'
import type { UniformWidths } from './widths.ts'

/** Keys that hold a stack's number of layers; the first that the config has is the one its family reads. */
const layerCountKeys: Readonly<Record<StackName, readonly string[]>> = {
  decoder: ['num_decoder_layers', 'decoder_layers', 'num_hidden_layers', 'n_layer', 'n_layers', 'num_layers'],
  encoder: ['encoder_layers', 'num_hidden_layers', 'n_layers', 'num_layers'],
}

/** Lists of config.json with one entry a layer, which belongs to the attention. */
const perLayerKeys = ['layer_types', 'no_rope_layers', 'attention_layers']

/**
 * The config of a stock checkpoint with the layers of `layout` and the widths given; all other fields stay. Written for
 * a custom layout too, whose missing blocks it does not know. `auto_map` goes: it points to files that are not carried
 * along, and the families here need none. Throws `UnsupportedModelError` where the architecture, reading the new
 * config, would not see the same blocks.
 */
export function stockConfig(
  architecture: Architecture,
  config: ModelConfig,
  layout: Layout,
  widths: Pick<UniformWidths, 'K' | 'F'>,
): ModelConfig {
  const { auto_map: _, ...cut }: Record<string, unknown> = { ...config }
  for (const [stack, table] of Object.entries(architecture.stacks) as [
    StackName,
    { layers(c: ModelConfig): number },
  ][]) {
    const key = layerCountKeys[stack].find((name) => config[name] !== undefined)
    if (key !== undefined) cut[key] = layout.stacks[stack]?.length ?? 0
    if (stack === 'decoder') cutPerLayer(cut, layout.stacks.decoder ?? [], table.layers(config))
  }
  narrow(cut, architecture, config, widths)
  checkReadsBack(architecture, config, cut, layout, widths)
  return cut
}

/** Lists keep the entries of the attentions that stay; an mlp alone takes that of the attention after it. */
function cutPerLayer(cut: Record<string, unknown>, layers: readonly NewLayer[], oldLayers: number): void {
  const sources = entrySources(layers)
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

/**
 * The old layer whose per-layer entries a new layer takes. Without an attention of its own it is the next one's, else
 * the last one's: so the first entry is always that of a living attention, and the key/value cache of its type exists.
 */
function entrySources(layers: readonly NewLayer[]): number[] {
  const sources: (number | undefined)[] = layers.map((layer) => layer.attention)
  for (let i = sources.length - 2; i >= 0; i--) sources[i] ??= sources[i + 1]
  for (let i = 1; i < sources.length; i++) sources[i] ??= sources[i - 1]
  return sources.map((source, i) => source ?? Object.values(layers[i]!)[0]!)
}

/** Writes the sizes that differ from those of `config`, in the words of Llama and its relatives. */
function narrow(
  cut: Record<string, unknown>,
  architecture: Architecture,
  config: ModelConfig,
  widths: Pick<UniformWidths, 'K' | 'F'>,
): void {
  const sizes = architecture.sizes(config)
  if (widths.K !== undefined && widths.K !== sizes['K']) {
    cut['num_attention_heads'] = widths.K * (sizes['G'] ?? 1)
    cut['num_key_value_heads'] = widths.K
    // else it would be guessed as hidden size / heads
    cut['head_dim'] = sizes['E']
  }
  if (widths.F !== undefined && widths.F !== sizes['F']) cut['intermediate_size'] = widths.F
}

/** The new config must mean, block for block, what the old one meant. */
function checkReadsBack(
  architecture: Architecture,
  config: ModelConfig,
  cut: ModelConfig,
  layout: Layout,
  widths: Pick<UniformWidths, 'K' | 'F'>,
): void {
  const sizes = architecture.sizes(config)
  const expectedSizes = { ...sizes, K: widths.K ?? sizes['K'], F: widths.F ?? sizes['F'] }
  if (!isDeepStrictEqual(architecture.sizes(cut), expectedSizes))
    throw notExpressible(config, 'the widths that are left')
  for (const [stack, table] of Object.entries(architecture.stacks)) {
    const layers = layout.stacks[stack as StackName] ?? []
    // tables do not read a config without layers
    if (layers.length > 0 && table.layers(cut) !== layers.length)
      throw notExpressible(config, 'the layers that are left')
    for (const [layer, blocks] of layers.entries()) {
      for (const { kind, form } of table.blocks) {
        const old: number | undefined = blocks[kind as BlockKind]
        if (old !== undefined && !isDeepStrictEqual(form(cut, layer), form(config, old))) {
          throw notExpressible(config, `layer ${layer}, whose ${kind} was in layer ${old}`)
        }
      }
    }
  }
}

function notExpressible(config: ModelConfig, what: string): UnsupportedModelError {
  return new UnsupportedModelError(
    `export: config.json of model_type "${config['model_type']}" has no way to say ${what}; remove whole layers, or export to ONNX`,
  )
}
