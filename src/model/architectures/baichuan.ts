import { UnsupportedModelError } from '../../errors.ts'
import type { ModelConfig } from '../../types.ts'
import { alibiSlopes } from '../alibi.ts'
import type { Positions } from '../mathematics.ts'
import { readRope } from '../rope.ts'
import { decoderClasses, type TransformersClasses } from '../transformersClasses.ts'
import { projection } from '../weightTable.ts'
import { type LlamaSizes, llamaLike, llamaSizes } from './llama.ts'

/**
 * Of the code beside Baichuan's checkpoints nothing is carried along: it was written for transformers 4. An export brings
 * Llama's classes with an attention of its own instead.
 */
const classes: TransformersClasses = decoderClasses('llama', 'Llama', {
  isForeign: true,
  attention: {
    imports: ['ALL_ATTENTION_FUNCTIONS', 'LlamaAttention', 'apply_rotary_pos_emb', 'eager_attention_forward'],
    code: attentionCode,
  },
  head: (config) => (hasUnitRows(config) ? { imports: [], code: () => unitRowsCode } : undefined),
})

/**
 * Baichuan 1 and 2: Llama's mathematics with q, k and v in one matrix, `W_pack`. The 7B models turn q and k by position, the
 * 13B models use ALiBi; all of them say `model_type: baichuan`. Baichuan 2 brings the rows of its head to length 1.
 * Source: the modeling_baichuan.py beside each checkpoint (baichuan-inc on the hub).
 */
export const baichuan = llamaLike(
  { baichuan: classes },
  {
    positions: baichuanPositions,
    attentionInputs: projection('q|k|v', 'model.layers.{layer}.self_attn.W_pack', '(K G E | K E | K E)', 'D'),
    head: (config) => (hasUnitRows(config) ? { unitRows: true } : {}),
  },
)

const hiddenSizeOf13B = 5120

/** Nothing else in the config tells Baichuan 2 from Baichuan 1. */
const baichuan2Vocabulary = 125696

const hasUnitRows = (config: ModelConfig): boolean => config['vocab_size'] === baichuan2Vocabulary

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

const unitRowsCode = `class Head(nn.Linear):
    """Every row of the matrix is brought to length 1 first."""

    def forward(self, hidden_states):
        return nn.functional.linear(hidden_states, nn.functional.normalize(self.weight))`

function attentionCode(config: ModelConfig): string {
  const positions = baichuanPositions(config, llamaSizes(config))
  return `class Attention(LlamaAttention):
    """q, k and v come from one matrix${positions.type === 'alibi' ? "; scores get ALiBi's biases" : ''}."""

    @classmethod
    def adopt(cls, attention, heads):
        attention.__class__, attention.heads = cls, heads
        attention.W_pack = nn.Linear(attention.q_proj.in_features, 3 * attention.q_proj.out_features, bias=False)
        del attention.q_proj, attention.k_proj, attention.v_proj

    def lose_heads(self, nothing):
        del self.W_pack, self.o_proj
        self.nothing = nothing

    def forward(self, hidden_states, position_embeddings=None, attention_mask=None, past_key_values=None, **inputs):
        if not self.heads:
            return self.nothing(hidden_states, past_key_values=past_key_values)
        batch, length, _ = hidden_states.shape
        parts = self.W_pack(hidden_states).chunk(3, dim=-1)
        q, k, v = (part.view(batch, length, -1, self.head_dim).transpose(1, 2) for part in parts)
${positions.type === 'alibi' ? '' : '        q, k = apply_rotary_pos_emb(q, k, *position_embeddings)\n'}        if past_key_values is not None:
            k, v = past_key_values.update(k, v, self.layer_idx)
${positions.type === 'alibi' ? '        attention_mask = self.biases(attention_mask, q, k)\n' : ''}        attend = ALL_ATTENTION_FUNCTIONS.get_interface(self.config._attn_implementation, eager_attention_forward)
        attended, weights = attend(self, q, k, v, attention_mask, dropout=0.0, scaling=self.scaling, **inputs)
        return self.o_proj(attended.reshape(batch, length, -1).contiguous()), weights${positions.type === 'alibi' ? alibiCode(positions.slopes) : ''}`
}

const alibiCode = (slopes: readonly number[]): string => `

    def biases(self, mask, q, k):
        """The slope of each head times the key's position, where the mask lets a query see it."""
        keys = torch.arange(k.shape[2], device=k.device)
        if mask is None:
            mask = keys <= keys[-q.shape[2] :, None]
        hidden = torch.finfo(q.dtype).min
        slopes = torch.tensor(SLOPES, device=k.device)[self.heads, None, None]
        return torch.where(mask if mask.dtype == torch.bool else mask == 0, slopes * keys, hidden).to(q.dtype)


# one for each head of the dense model
SLOPES = [${slopes.join(', ')}]`
