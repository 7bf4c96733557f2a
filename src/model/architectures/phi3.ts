import { readRope } from '../rope.ts'
import { decoderClasses } from '../transformersClasses.ts'
import { projection } from '../weightTable.ts'
import { slidingWindowOf } from '../window.ts'
import { llamaLike } from './llama.ts'

/** What splits `qkv_proj` again. */
const headCounts = ['num_key_value_heads', 'config.num_attention_heads']

/**
 * Phi-3 and Phi-4: Llama's mathematics with q, k and v stored in one matrix, gate and up in another. Frequencies of the long-context
 * variants (`longrope`) depend on the length of the row; of Phi-4-mini only a share of each head turns.
 */
export const phi3 = llamaLike(
  { phi3: decoderClasses('phi3', 'Phi3', { headCounts }) },
  {
    window: (config) => slidingWindowOf(config, undefined),
    positions: (config, { E }) => ({ type: 'rotary', rope: readRope(config, E, { share: 1 }) }),
    defaults: { epsilon: 1e-5 },
    attentionInputs: projection('q|k|v', 'model.layers.{layer}.self_attn.qkv_proj', '(K G E | K E | K E)', 'D'),
    mlpInputs: projection('gate|up', 'model.layers.{layer}.mlp.gate_up_proj', '(F | F)', 'D'),
  },
)
