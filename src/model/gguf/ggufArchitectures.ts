import { UnsupportedModelError } from '../../errors.ts'
import type { GgufArchitecture } from './architecture.ts'
import { deci } from './architectures/deci.ts'
import { gemma3 } from './architectures/gemma3.ts'
import { gpt2 } from './architectures/gpt2.ts'
import { llama } from './architectures/llama.ts'
import { qwen2 } from './architectures/qwen2.ts'
import { qwen3 } from './architectures/qwen3.ts'
import { type MetadataSource, optionalInteger, optionalString } from './fields.ts'

const architectures: readonly GgufArchitecture[] = [llama, qwen2, qwen3, gemma3, gpt2, deci]

/** The table of the file's `general.architecture`. Throws `UnsupportedModelError` for one that has none. */
export function ggufArchitectureOf(file: MetadataSource): GgufArchitecture {
  const type = optionalString(file, 'general.type') ?? 'model'
  if (type !== 'model') {
    throw new UnsupportedModelError(
      `${file.path}: holds a GGUF of type "${type}", expected "model"; open the language model itself`,
    )
  }
  const parts = optionalInteger(file, 'split.count') ?? 1
  if (parts > 1) {
    throw new UnsupportedModelError(
      `${file.path}: is one of ${parts} parts, expected a whole model; join them with llama-gguf-split --merge`,
    )
  }
  const name = optionalString(file, 'general.architecture')
  const found = architectures.find((architecture) => architecture.name === name)
  if (!found) {
    throw new UnsupportedModelError(
      `${file.path}: has GGUF architecture ${JSON.stringify(name ?? 'none')}, expected one of ${architectures.map((a) => a.name).join(', ')}; use the model's Hugging Face checkpoint`,
    )
  }
  return found
}
