import type { GgufFile } from '../../format/gguf/openGgufFile.ts'
import type { ModelConfig } from '../../types.ts'
import type { OpenedCheckpoint } from '../describe.ts'

/**
 * How llama.cpp's converters store a tensor other than Hugging Face does.
 * - `headPairs`: rows of each query or key/value head reordered so that the two channels that rotary embedding turns
 *   together are neighbours; Hugging Face keeps them half a head apart.
 * - `plusOne`: a norm weight w stored as w + 1.
 * - `transposed`: stored [out, in], while Hugging Face's Conv1D keeps [in, out].
 */
export type StoredForm = 'headPairs' | 'plusOne' | 'transposed'

/** A tensor's name in the file and at Hugging Face, `{layer}` standing for its number, `.weight` or `.bias` left out. */
export type TensorRule = readonly [gguf: string, huggingFace: string, form?: StoredForm]

/** A value of `general.architecture`, described: how to name its tensors and how to spell its metadata as config.json. */
export interface GgufArchitecture {
  readonly name: string
  readonly tensors: readonly TensorRule[]
  /** Tensors that are part of the config and of nothing else. */
  readonly configTensors?: readonly string[]
  /**
   * config.json as transformers would have it, in the spelling of transformers 4 (`rope_theta`, `rope_scaling`), which
   * transformers 5 reads too. Throws `CheckpointError` for missing metadata, `UnsupportedModelError` for mathematics that
   * config.json cannot say.
   */
  config(file: GgufFile): Promise<ModelConfig>
  /** Which blocks the layers do not have, and the units of those that are narrower than the config says; absent: none. */
  readonly layers?: (file: GgufFile) => Promise<UnevenLayers>
}

export type UnevenLayers = Pick<OpenedCheckpoint, 'absent' | 'units'>
