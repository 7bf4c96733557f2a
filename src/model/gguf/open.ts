import { CheckpointError } from '../../errors.ts'
import { type GgufFile, openGgufFile } from '../../format/gguf/openGgufFile.ts'
import type { ModelConfig, WeightStore } from '../../types.ts'
import type { UnevenLayers } from './architecture.ts'
import { optionalStrings } from './fields.ts'
import { ggufArchitectureOf } from './ggufArchitectures.ts'
import { type GgufOrigin, ggufOrigins, ggufWeights } from './ggufWeights.ts'
import { buildTokenizer, generationConfig, hasTokenizer, tokenizerConfig } from './tokenizer/tokenizerJson.ts'
import type { BuiltTokenizer } from './tokenizer/vocabulary.ts'

export interface GgufModel extends UnevenLayers {
  /** config.json, rebuilt from the metadata. */
  readonly config: ModelConfig
  /** Closing it closes the file. */
  readonly weights: WeightStore
  /**
   * generation_config.json and, when the file has a tokenizer, tokenizer.json and tokenizer_config.json, built when asked
   * for. Asking throws `UnsupportedModelError` for a tokenizer we cannot rebuild.
   */
  readonly assets: ReadonlyMap<string, () => Promise<Uint8Array>>
  /** llama.cpp adds an output bias wherever there is one. */
  readonly addedBiases: true
  /** The file under its own names, for an exporter that copies from it. */
  readonly file: GgufFile
  /** Hugging Face name → the tensor behind it. */
  readonly origins: ReadonlyMap<string, GgufOrigin>
}

/** Whether `path` names a GGUF file. */
export const isGgufPath = (path: string): boolean => /\.gguf$/i.test(path)

/**
 * Opens a GGUF model as if it were a Hugging Face folder. Throws `CheckpointError` for a damaged file and
 * `UnsupportedModelError` for an architecture or a position scaling that is not known here.
 */
export async function openGguf(path: string): Promise<GgufModel> {
  const file = await openGgufFile(path)
  try {
    const architecture = ggufArchitectureOf(file)
    const origins = ggufOrigins(file, architecture)
    const config = await architecture.config(file)
    const tokens = optionalStrings(file, 'tokenizer.ggml.tokens')?.length ?? 0
    if (tokens > Number(config['vocab_size'])) {
      throw new CheckpointError(
        `${path}: has ${tokens} tokens, expected at most the ${config['vocab_size']} rows of its embedding; is the vocabulary damaged?`,
      )
    }
    const uneven = await architecture.layers?.(file)
    return {
      config,
      weights: ggufWeights(file, origins, config),
      assets: assetsOf(file),
      addedBiases: true,
      file,
      origins,
      ...uneven,
    }
  } catch (error) {
    await file.close()
    throw error
  }
}

function assetsOf(file: GgufFile): ReadonlyMap<string, () => Promise<Uint8Array>> {
  let built: BuiltTokenizer | undefined
  const tokenizer = () => {
    built ??= buildTokenizer(file)
    return built
  }
  const assets = new Map([['generation_config.json', async () => jsonBytes(generationConfig(file))]])
  if (hasTokenizer(file)) {
    assets.set('tokenizer.json', async () => jsonBytes(tokenizer().json))
    assets.set('tokenizer_config.json', async () => jsonBytes(tokenizerConfig(file, tokenizer())))
  }
  return assets
}

function jsonBytes(value: object): Uint8Array {
  return new TextEncoder().encode(JSON.stringify(value, null, 2))
}
