import { UnsupportedModelError } from '../errors.ts'
import type { ModelConfig } from '../types.ts'
import type { Architecture } from './architecture.ts'
import { baichuan } from './architectures/baichuan.ts'
import { bart } from './architectures/bart.ts'
import { bert } from './architectures/bert.ts'
import { bloom } from './architectures/bloom.ts'
import { distilbert } from './architectures/distilbert.ts'
import { falcon } from './architectures/falcon.ts'
import { gemma } from './architectures/gemma.ts'
import { gemma2 } from './architectures/gemma2.ts'
import { gemma3 } from './architectures/gemma3.ts'
import { gpt2 } from './architectures/gpt2.ts'
import { gptNeox } from './architectures/gptNeox.ts'
import { llama } from './architectures/llama.ts'
import { marian } from './architectures/marian.ts'
import { mistral } from './architectures/mistral.ts'
import { opt } from './architectures/opt.ts'
import { phi } from './architectures/phi.ts'
import { phi3 } from './architectures/phi3.ts'
import { qwen2 } from './architectures/qwen2.ts'
import { qwen3 } from './architectures/qwen3.ts'
import { roberta } from './architectures/roberta.ts'
import { seedOss } from './architectures/seedOss.ts'
import { t5 } from './architectures/t5.ts'

/** Every family the toolkit knows. */
export const architectures: readonly Architecture[] = [
  baichuan,
  bart,
  bert,
  bloom,
  distilbert,
  falcon,
  gemma,
  gemma2,
  gemma3,
  gpt2,
  gptNeox,
  llama,
  marian,
  mistral,
  opt,
  phi,
  phi3,
  qwen2,
  qwen3,
  roberta,
  seedOss,
  t5,
]

/** The table for `model_type` of `config`. Throws `UnsupportedModelError` with the known types. */
export function findArchitecture(config: ModelConfig): Architecture {
  const type = config['model_type']
  const found = architectureOf(type)
  if (found === undefined) {
    const known = architectures.flatMap(({ modelTypes }) => modelTypes).sort()
    throw new UnsupportedModelError(
      `config.json: model_type is ${JSON.stringify(type) ?? 'missing'}, expected one of ${known.join(', ')}${adviceFor(config)}`,
    )
  }
  return found
}

/** The kind of stack that `config` describes; undefined for a `model_type` that is not known here. */
export function familyOf(config: ModelConfig): Architecture['family'] | undefined {
  return architectureOf(config['model_type'])?.family
}

function architectureOf(type: unknown): Architecture | undefined {
  return architectures.find(({ modelTypes }) => modelTypes.some((known) => known === type))
}

/** How to get at a language model that comes with those of other media. */
function adviceFor(config: ModelConfig): string {
  const text = config['text_config']
  const type = typeof text === 'object' && text !== null ? (text as ModelConfig)['model_type'] : undefined
  if (architectureOf(type) === undefined) return ''
  return (
    `; to prune its language model, a ${type}, save that by itself, and its tokenizer with it: python -c "from transformers import ` +
    'AutoModelForImageTextToText as A, AutoModelForCausalLM as C, AutoTokenizer as T; ' +
    "m = A.from_pretrained('MODEL'); t = C.from_config(m.config.text_config, dtype=m.dtype); " +
    "t.model = m.model.language_model; t.lm_head = m.lm_head; t.save_pretrained('TEXT'); " +
    `T.from_pretrained('MODEL').save_pretrained('TEXT')"`
  )
}
