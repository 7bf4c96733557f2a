import type { OnnxElementType } from '../format/onnx/encode.ts'
import type { CachePart } from '../graph/graph.ts'
import type { DescribedBlock, Model } from '../model/model.ts'
import { blockSizes } from '../model/plan.ts'

import type { OnnxWriter } from './onnxWriter.ts'

/** Attentions of a decoder that are left, in forward order: each has a place in the key/value cache, numbered anew from 0. */
export function cachedAttentions({ blocks }: Model, kind: 'attention' | 'crossAttention'): readonly DescribedBlock[] {
  return blocks.filter((block) => block.stack === 'decoder' && block.kind === kind)
}

/**
 * The key/value cache under the names transformers.js has for it: `past_key_values.N.key` in, `present.N.key` out, and behind
 * an encoder `N.decoder.key` for attention and `N.encoder.key` for cross attention. A place that no attention has is left out:
 * transformers.js makes and passes on what the graph declares.
 */
export class KeyValueCaches {
  readonly #writer: OnnxWriter
  readonly #model: Model
  readonly #type: OnnxElementType

  constructor(writer: OnnxWriter, model: Model, type: 'float32' | 'float16') {
    this.#writer = writer
    this.#model = model
    this.#type = type
  }

  /** Keys or values of the calls before: (B,K,P,E). */
  past(block: DescribedBlock, part: CachePart): string {
    const length = block.kind === 'crossAttention' ? 'past_encoder_sequence_length' : 'past_sequence_length'
    return this.#writer.input({ ...this.#typeOf(block, length), name: `past_key_values.${this.#nameOf(block, part)}` })
  }

  /** The same and those of this call: (B,K,P+T,E). */
  present(block: DescribedBlock, part: CachePart): string {
    const length = block.kind === 'crossAttention' ? 'encoder_sequence_length' : 'total_sequence_length'
    return this.#writer.output({ ...this.#typeOf(block, length), name: `present.${this.#nameOf(block, part)}` })
  }

  /** (1) int64: positions the cache of a decoder behind an encoder has, of its own or of the encoder's. */
  pastLength(kind: 'attention' | 'crossAttention'): string {
    return this.#writer.once(`${kind}_past`, () => {
      const [first] = cachedAttentions(this.#model, kind)
      const key = first === undefined ? this.#counter() : this.past(first, 'key')
      return this.#writer.node('Shape', [key], `${kind}_past`, { start: { int: 2 }, end: { int: 3 } })
    })
  }

  /**
   * Without any attention over its own positions a decoder behind an encoder is told nowhere how many there were. A cache of
   * one zero a position counts them.
   */
  #counter(): string {
    const writer = this.#writer
    const name = '0.decoder.key'
    const dims = (length: string) => ['batch_size', 1, length, 1]
    const past = writer.input({ name: `past_key_values.${name}`, type: 'float32', dims: dims('past_sequence_length') })
    const shape = writer.node('Shape', ['input_ids'], 'counted_shape')
    const zeros = writer.node('ConstantOfShape', [shape], 'counted_zeros') // (B,T) float32
    const counted = writer.node('Unsqueeze', [zeros, writer.int64('counted_axes', [1, 3])], 'counted_new') // (B,1,T,1)
    writer.node('Concat', [past, counted], `present.${name}`, { axis: { int: 2 } })
    writer.output({ name: `present.${name}`, type: 'float32', dims: dims('total_sequence_length') })
    return past
  }

  #typeOf(block: DescribedBlock, length: string) {
    const { K, E } = blockSizes(this.#model, block) as { K: number; E: number }
    return { type: this.#type, dims: ['batch_size', K, length, E] }
  }

  #nameOf(block: DescribedBlock, part: CachePart): string {
    const slot = cachedAttentions(this.#model, block.kind as 'attention').findIndex(({ id }) => id === block.id)
    if (this.#model.architecture.family === 'decoder') return `${slot}.${part}`
    return `${slot}.${block.kind === 'crossAttention' ? 'encoder' : 'decoder'}.${part}`
  }
}
