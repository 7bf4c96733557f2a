import type { ModelConfig } from '../../types.ts'
import { countOf, flagOf, requireValue } from '../configValue.ts'
import { seq2SeqClasses } from '../transformersClasses.ts'
import { bartLike, sharedWords } from './bart.ts'

/** Marian (opus-mt): BART with sinusoidal positions, which no checkpoint needs to store, and no norm behind the embeddings. */
export const marian = bartLike(
  { marian: seq2SeqClasses('marian', 'Marian', 'MarianMTModel') },
  {
    check(config) {
      requireValue(config, 'static_position_embeddings', true)
      requireValue(config, 'normalize_embedding', false)
      requireValue(config, 'extra_pos_embeddings', 0)
    },
    sizes: (config) =>
      isShared(config) ? {} : { V: countOf(config, 'decoder_vocab_size', countOf(config, 'vocab_size')) },
    embeddingWeights: (config, has) =>
      isShared(config)
        ? sharedWords(config, has)
        : {
            embedTokens: ['model.decoder.embed_tokens.weight', 'V D'],
            'encoder.embedTokens': ['model.encoder.embed_tokens.weight', 'W D'],
          },
    embedding: (config) => ({ sinusoids: { width: Number(config['d_model']) } }),
  },
)

const isShared = (config: ModelConfig): boolean => flagOf(config, 'share_encoder_decoder_embeddings', true)
