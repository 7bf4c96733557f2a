import type { ModelConfig } from '../../types.ts'
import { flagOf, numberOf } from '../configValue.ts'
import { decoderClasses } from '../transformersClasses.ts'
import { layerTypeOf, slidingWindowOf } from '../window.ts'
import { llamaLike } from './llama.ts'

/** Qwen2 and Qwen2.5: Llama's mathematics with biases on q, k and v. */
export const qwen2 = llamaLike(
  { qwen2: decoderClasses('qwen2', 'Qwen2') },
  {
    biases: () => ({ qkv: true, o: false, mlp: false }),
    window: qwenWindow,
    defaults: { keyValueHeads: 32 },
  },
)

/** A window only behind `use_sliding_window`, and there only from layer `max_window_layers` on. */
export function qwenWindow(config: ModelConfig, layer: number): number | undefined {
  if (!flagOf(config, 'use_sliding_window', false)) return undefined
  const isSliding = layer >= numberOf(config, 'max_window_layers', 28)
  const type = layerTypeOf(config, layer, isSliding ? 'sliding_attention' : 'full_attention')
  return type === 'sliding_attention' ? slidingWindowOf(config, 4096) : undefined
}
