import { UnsupportedModelError } from '../errors.ts'
import type { ModelConfig } from '../types.ts'
import { choiceOf, countOf } from './configValue.ts'

export type LayerType = 'full_attention' | 'sliding_attention'

/** What `layer_types` says about `layer`, `fallback` where the config has no such list. */
export function layerTypeOf(config: ModelConfig, layer: number, fallback: LayerType): LayerType {
  const types = config['layer_types']
  if (types === undefined || types === null) return fallback
  const type = Array.isArray(types) ? types[layer] : undefined
  if (type === undefined) {
    throw new UnsupportedModelError(
      `config.json: "layer_types" has no entry for layer ${layer}, expected a list with one for each layer`,
    )
  }
  return choiceOf({ [`layer_types[${layer}]`]: type }, `layer_types[${layer}]`, ['full_attention', 'sliding_attention'])
}

/** `sliding_window` in tokens, the own position included; undefined where it is null, `fallback` where it is absent. */
export function slidingWindowOf(config: ModelConfig, fallback: number | undefined): number | undefined {
  if (!('sliding_window' in config)) return fallback
  return config['sliding_window'] === null ? undefined : countOf(config, 'sliding_window')
}
