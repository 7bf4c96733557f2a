import { CheckpointError, UnsupportedModelError } from '../../../errors.ts'
import type { GgufFile } from '../../../format/gguf/openGgufFile.ts'
import type { BlockId } from '../../../types.ts'
import type { GgufArchitecture, UnevenLayers } from '../architecture.ts'
import { type DecoderSizes, layerCount } from '../decoderConfig.ts'
import { optionalInteger, optionalNumbers, requiredInteger } from '../fields.ts'
import { llama, llamaConfig } from './llama.ts'

/** A block that only stands where llama.cpp wants one has one head, or at most this many channels. */
const stubChannels = 32

/**
 * DeciLM and Nemotron-NAS: Llama whose layers have numbers of heads and channels of their own, which is how single branches are
 * left out of a model for llama.cpp. Zero heads are no attention. A narrow block whose output weights are all zero adds nothing and is
 * read as none. Source: ggml-org/llama.cpp, src/models/deci.cpp.
 */
export const deci: GgufArchitecture = {
  name: 'deci',
  tensors: llama.tensors,
  ...(llama.configTensors && { configTensors: llama.configTensors }),
  config: async (file) => llamaConfig(file, 'deci', sizesOf(file, await layersOf(file))),
  async layers(file) {
    const layers = await layersOf(file)
    const { num_key_value_heads: K, intermediate_size: F } = sizesOf(file, layers)
    const absent: BlockId[] = []
    const units: Record<BlockId, number> = {}
    for (const [layer, { kvHeads, channels }] of layers.entries()) {
      const [attention, mlp]: BlockId[] = [`decoder.${layer}.attention`, `decoder.${layer}.mlp`]
      if (kvHeads === 0) absent.push(attention!)
      else if (kvHeads !== K) units[attention!] = kvHeads
      if (channels === 0) absent.push(mlp!)
      else if (channels !== F) units[mlp!] = channels
    }
    return { absent, units } satisfies UnevenLayers
  },
}

/** What a layer has; 0 of what it has not. */
interface DeciLayer {
  readonly heads: number
  readonly kvHeads: number
  readonly channels: number
}

/** Throws `UnsupportedModelError` for layers that are neither Llama's nor without a branch. */
async function layersOf(file: GgufFile): Promise<DeciLayer[]> {
  const count = layerCount(file, 'deci')
  const [heads, kvHeads, channels] = ['attention.head_count', 'attention.head_count_kv', 'feed_forward_length'].map(
    (key) => perLayer(file, `deci.${key}`, count),
  ) as [number[], number[], number[]]
  const layers: DeciLayer[] = []
  for (let layer = 0; layer < count; layer++) {
    const [q, kv, wide] = [heads[layer]!, kvHeads[layer]!, channels[layer]!]
    const found = `${file.path}: layer ${layer} has ${q} query heads, ${kv} key/value heads and ${wide} channels`
    if (q > 0 && kv === 0) {
      throw new UnsupportedModelError(`${found}, a linear layer for an attention, expected an attention or none`)
    }
    if (kv > 0 && q % kv !== 0) throw new CheckpointError(`${found}, expected whole groups of heads; is it damaged?`)
    if (wide === 0) {
      throw new UnsupportedModelError(`${found}, of which llama.cpp computes nothing, expected an mlp in each layer`)
    }
    const noAttention = kv === 0 || (q === 1 && (await isZero(file, `blk.${layer}.attn_output.weight`)))
    const noMlp = wide <= stubChannels && (await isZero(file, `blk.${layer}.ffn_down.weight`))
    layers.push({ heads: noAttention ? 0 : q, kvHeads: noAttention ? 0 : kv, channels: noMlp ? 0 : wide })
  }
  return layers
}

async function isZero(file: GgufFile, name: string): Promise<boolean> {
  return file.tensors.has(name) && (await file.readTensor(name)).every((value) => value === 0)
}

/** The widest of everything, from which `units` says how layers differ. */
function sizesOf(file: GgufFile, layers: readonly DeciLayer[]): DecoderSizes {
  const attentions = layers.filter(({ kvHeads }) => kvHeads > 0)
  const groups = new Set(attentions.map(({ heads, kvHeads }) => heads / kvHeads))
  if (groups.size > 1) {
    throw new UnsupportedModelError(
      `${file.path}: has ${[...groups].join(' and ')} query heads for a key/value head, expected one number for all layers`,
    )
  }
  const kvHeads = Math.max(1, ...layers.map((layer) => layer.kvHeads))
  const hidden = requiredInteger(file, 'deci.embedding_length')
  const heads = kvHeads * ([...groups][0] ?? 1)
  const headDim = optionalInteger(file, 'deci.attention.key_length') ?? hidden / heads
  const valueDim = optionalInteger(file, 'deci.attention.value_length') ?? headDim
  if (!Number.isInteger(headDim) || headDim < 2 || headDim % 2 !== 0 || valueDim !== headDim) {
    throw new UnsupportedModelError(
      `${file.path}: has key heads of ${headDim} and value heads of ${valueDim} channels, expected the same even number`,
    )
  }
  return {
    hidden_size: hidden,
    intermediate_size: Math.max(1, ...layers.map(({ channels }) => channels)),
    num_hidden_layers: layers.length,
    num_attention_heads: heads,
    num_key_value_heads: kvHeads,
    head_dim: headDim,
    max_position_embeddings: requiredInteger(file, 'deci.context_length'),
  }
}

/** A whole number for each layer, also where one is said for all. */
function perLayer(file: GgufFile, key: string, layers: number): number[] {
  const isList = file.metadata.get(key)?.value.type === 'array'
  const numbers = isList ? Array.from(optionalNumbers(file, key, layers) ?? []) : undefined
  const counts = numbers ?? new Array<number>(layers).fill(requiredInteger(file, key))
  const wrong = counts.find((count) => !Number.isSafeInteger(count) || count < 0)
  if (wrong === undefined) return counts
  throw new CheckpointError(
    `${file.path}: metadata "${key}" holds ${wrong}, expected whole numbers; is the file damaged?`,
  )
}
