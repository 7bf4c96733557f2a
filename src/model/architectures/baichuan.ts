import { UnsupportedModelError } from '../../errors.ts'
import type { ModelConfig } from '../../types.ts'
import { alibiSlopes } from '../alibi.ts'
import type { Positions } from '../forms.ts'
import { readRope } from '../rope.ts'
import { decoderClasses } from '../transformersClasses.ts'
import { projection } from '../weightTable.ts'
import { type LlamaSizes, llamaLike } from './llama.ts'

/**
 * Baichuan 1 and 2: Llama's mathematics with q, k and v in one matrix, `W_pack`. The 7B models turn q and k by position, the
 * 13B models use ALiBi; all of them say `model_type: baichuan`. Baichuan 2 brings the rows of its head to length 1.
 * Source: the modeling_baichuan.py beside each checkpoint (baichuan-inc on the hub).
 */
export const baichuan = llamaLike(
  { baichuan: decoderClasses('llama', 'Llama') },
  {
    positions: baichuanPositions,
    attentionInputs: projection('q|k|v', 'model.layers.{layer}.self_attn.W_pack', '(K G E | K E | K E)', 'D'),
    head: (config) => (config['vocab_size'] === baichuan2Vocabulary ? { unitRows: true } : {}),
  },
)

const hiddenSizeOf13B = 5120

/** Nothing else in the config tells Baichuan 2 from Baichuan 1. */
const baichuan2Vocabulary = 125696

/**
 * The config class of the 7B models has `max_position_embeddings`, that of the 13B models only `model_max_length`. A config
 * of 13B's width that has the former says both: it is refused rather than guessed at.
 */
function baichuanPositions(config: ModelConfig, { D, K, G, E }: LlamaSizes): Positions {
  if (config['max_position_embeddings'] != null && D === hiddenSizeOf13B) {
    throw new UnsupportedModelError(
      `config.json: "hidden_size" is ${D} as in Baichuan 13B (ALiBi), beside "max_position_embeddings" as in Baichuan 7B (rotary positions), ` +
        'expected one of the two; remove "max_position_embeddings" if the checkpoint is a 13B',
    )
  }
  if (config['max_position_embeddings'] != null) return { type: 'rotary', rope: readRope(config, E) }
  if (config['model_max_length'] != null) return { type: 'alibi', slopes: alibiSlopes(K * G), factor: 1 }
  throw new UnsupportedModelError(
    'config.json: has neither "max_position_embeddings" (Baichuan 7B, rotary positions) nor "model_max_length" (Baichuan 13B, ALiBi), ' +
      'expected one of them; is it the config.json that belongs to the checkpoint?',
  )
}
