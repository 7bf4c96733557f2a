import { CheckpointError, UnsupportedModelError } from '../../errors.ts'
import type { GgufFile } from '../../format/gguf/openGgufFile.ts'
import { optionalInteger, optionalNumber, optionalTokenId, optionalUniformInteger, requiredInteger } from './fields.ts'

/** The sizes that every decoder's metadata holds, under the names of config.json. */
export interface DecoderSizes {
  readonly hidden_size: number
  readonly intermediate_size: number
  readonly num_hidden_layers: number
  readonly num_attention_heads: number
  readonly num_key_value_heads: number
  readonly head_dim: number
  readonly max_position_embeddings: number
}

/**
 * Sizes from `<arch>.*`. As in llama.cpp the key/value heads default to the query heads, and the head dimension to hidden
 * size over heads. Throws `CheckpointError` where they contradict each other.
 */
export function decoderSizes(file: GgufFile, arch: string): DecoderSizes {
  const layers = layerCount(file, arch)
  const hidden = requiredInteger(file, `${arch}.embedding_length`)
  const heads = uniform(file, `${arch}.attention.head_count`, layers)
  const keyValueHeads = optionalUniformInteger(file, `${arch}.attention.head_count_kv`, layers) ?? heads
  const headDim = optionalInteger(file, `${arch}.attention.key_length`) ?? hidden / heads
  const valueDim = optionalInteger(file, `${arch}.attention.value_length`) ?? headDim
  if (
    heads < 1 ||
    keyValueHeads < 1 ||
    heads % keyValueHeads !== 0 ||
    !Number.isInteger(headDim) ||
    headDim % 2 !== 0
  ) {
    throw new CheckpointError(
      `${file.path}: has ${heads} query heads, ${keyValueHeads} key/value heads and a head dimension of ${headDim}, expected whole groups of heads of an even dimension; is the metadata damaged?`,
    )
  }
  if (valueDim !== headDim) {
    throw new UnsupportedModelError(
      `${file.path}: has value heads of ${valueDim} and key heads of ${headDim} channels, expected the same; use the model's Hugging Face checkpoint`,
    )
  }
  return {
    hidden_size: hidden,
    intermediate_size: uniform(file, `${arch}.feed_forward_length`, layers),
    num_hidden_layers: layers,
    num_attention_heads: heads,
    num_key_value_heads: keyValueHeads,
    head_dim: headDim,
    max_position_embeddings: requiredInteger(file, `${arch}.context_length`),
  }
}

/** `block_count`, checked against the layers that have tensors. Throws `CheckpointError` where they differ. */
export function layerCount(file: GgufFile, arch: string): number {
  const declared = requiredInteger(file, `${arch}.block_count`)
  const layers = new Set<number>()
  for (const name of file.tensors.keys()) {
    const layer = /^blk\.(\d+)\./.exec(name)?.[1]
    if (layer !== undefined) layers.add(Number(layer))
  }
  // counted, not compared by the highest number, so that nothing larger than the tensor table follows from it
  if (layers.size !== declared || !layers.has(declared - 1)) {
    throw new CheckpointError(
      `${file.path}: has tensors of ${layers.size} layers, expected layers 0 to ${declared - 1} by its metadata "${arch}.block_count"; is the file damaged?`,
    )
  }
  return declared
}

function uniform(file: GgufFile, key: string, layers: number): number {
  return optionalUniformInteger(file, key, layers) ?? requiredInteger(file, key)
}

/** Rows of the embedding: what llama.cpp takes for the vocabulary too. Throws `CheckpointError` when there is none. */
export function vocabularySize(file: GgufFile): number {
  const rows = file.tensors.get('token_embd.weight')?.shape[0]
  if (rows === undefined) {
    throw new CheckpointError(`${file.path}: has no tensor "token_embd.weight", expected a language model; is it one?`)
  }
  return rows
}

/** `bos_token_id`, `eos_token_id`, `pad_token_id` as far as the file names them, and whether the head is the embedding. */
export function decoderEnds(file: GgufFile): Readonly<Record<string, unknown>> {
  return {
    bos_token_id: optionalTokenId(file, 'tokenizer.ggml.bos_token_id') ?? null,
    eos_token_id: optionalTokenId(file, 'tokenizer.ggml.eos_token_id') ?? null,
    pad_token_id: optionalTokenId(file, 'tokenizer.ggml.padding_token_id') ?? null,
    tie_word_embeddings: !file.tensors.has('output.weight'),
  }
}

/** `rope.freq_base`, 10000 when absent as in llama.cpp. */
export function ropeTheta(file: GgufFile, arch: string): number {
  return optionalNumber(file, `${arch}.rope.freq_base`) ?? 10000
}

/** Refuses a rotary embedding that turns only part of each head. */
export function checkWholeHeadsRotate(file: GgufFile, arch: string, headDim: number): void {
  const dimensions = optionalInteger(file, `${arch}.rope.dimension_count`) ?? headDim
  if (dimensions !== headDim) {
    throw new UnsupportedModelError(
      `${file.path}: rotates ${dimensions} of ${headDim} channels of a head, expected all; use the model's Hugging Face checkpoint`,
    )
  }
}
