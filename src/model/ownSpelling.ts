import { UnsupportedModelError } from '../errors.ts'
import type { ModelConfig } from '../types.ts'
import type { Architecture } from './architecture.ts'
import { agreedValue, requireValue } from './configValue.ts'

/**
 * `config` in the family's own words, so that no key is left that transformers would read instead of the one that this package reads
 * and changes: the `model_type` that its Auto classes make of it, and no other name of a setting beside the family's. Throws
 * `UnsupportedModelError` where two names of a setting say different things, or the whole model is asked to compute something else.
 */
export function inOwnWords(architecture: Architecture, config: ModelConfig): ModelConfig {
  const { modelType, otherKeys = {}, family } = architecture
  const own: Record<string, unknown> = { ...config, ...(modelType !== undefined && { model_type: modelType(config) }) }
  for (const [other, key] of Object.entries(otherKeys)) {
    const value = agreedValue([key, config[key]], [other, config[other]])
    delete own[other]
    if (value !== undefined) own[key] = value
  }
  if (family !== 'encoder') requireValue(config, 'is_causal', true)
  if (family === 'encoderDecoder') requireValue(config, 'is_encoder_decoder', true)
  if (family !== 'encoder' && !architecture.hasWindows) {
    refuseWindowOfCache(config)
    // all layers are said to see everything, so that no window counts: generate of transformers would hand masks by type to attention
    // that knows no types
    if (config['layer_types'] != null) for (const key of keysOfCache) delete own[key]
  }
  if (Object.keys(config['per_layer_config'] ?? {}).length > 0) {
    throw new UnsupportedModelError(
      'config.json: "per_layer_config" gives layers settings of their own, which is not supported; expected none',
    )
  }
  return own
}

/** What only the cache of transformers reads of a family without windows. */
const keysOfCache = ['layer_types', 'sliding_window', 'attention_chunk_size']

/** Such a model attends to everything until transformers generates with it: its cache then forgets what is beyond the window. */
function refuseWindowOfCache(config: ModelConfig): void {
  const { layer_types: types, sliding_window: window, attention_chunk_size: chunk } = config
  const longest = config['max_position_embeddings'] ?? config['n_positions'] ?? Number.POSITIVE_INFINITY
  const isBinding = (size: unknown) => typeof size === 'number' && size < Number(longest)
  const isTyped = Array.isArray(types) && types.some((type) => type !== 'full_attention')
  const sizes = [['sliding_window', window] as const, ['attention_chunk_size', chunk] as const]
  const bound = types == null ? sizes.find(([, size]) => isBinding(size)) : undefined
  const key = isTyped ? (['layer_types', JSON.stringify(types)] as const) : bound
  if (!key) return
  throw new UnsupportedModelError(
    `config.json: "${key[0]}" is ${key[1]}, but attention of model_type "${config['model_type']}" has no window: ` +
      "only the cache of transformers would have one, and generate another text than its scores say; set it to null, or model_type to the checkpoint's own",
  )
}
