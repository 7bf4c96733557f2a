import { elementTypes } from '../format/onnx/encode.ts'
import { newScribe } from './onnxScribe.ts'
import type { Lowered } from './toOnnx.ts'

/** Words whose exponentials onnxruntime adds up in float32; larger sums lose their small terms (1e-5 nats over 49,152 words). */
const bestPiece = 2048

/** A logit whose exponential is 0. */
const noWord = -1e30

/**
 * How `vocabulary` words are cut into pieces of one size near 2048: evenly where that goes, or with `padding` behind the last, which
 * costs a copy of the logits.
 */
export function vocabularyPieces(vocabulary: number): { count: number; size: number; padding: number } {
  if (vocabulary <= bestPiece) return { count: 1, size: vocabulary, padding: 0 }
  const distance = (size: number) => Math.abs(Math.log(size / bestPiece))
  const sizes = Array.from({ length: 4 * bestPiece }, (_, i) => i + 1)
  const even = sizes.filter((size) => vocabulary % size === 0 && size >= bestPiece / 4)
  const size = even.sort((a, b) => distance(a) - distance(b))[0] ?? bestPiece
  const count = Math.ceil(vocabulary / size)
  return { count, size, padding: count * size - vocabulary }
}

interface Operands {
  readonly logits: string
  readonly index: string
  readonly output: string
}

/**
 * The ONNX form of `logProbability`: log Σ exp of each piece in float32, of the pieces in float64. That of a piece is z - logSoftmax(z),
 * read at its largest logit, where the difference is exact to the sum; `portable`: m + log Σ exp(z - m), m = max(z), for runtimes without
 * logSoftmax. `rank`: axes of the index.
 */
export function lowerLogProbability(
  vocabulary: number,
  rank: number,
  { logits, index, output }: Operands,
  portable = false,
): Lowered {
  const scribe = newScribe(output)
  const { node, int64 } = scribe
  const float64 = (value: string) => node('Cast', [value], { to: { int: elementTypes.float64 } })
  const pick = (from: string) => {
    const columns = rank === 1 ? node('Unsqueeze', [index, int64(1)]) : index
    return node('GatherElements', [from, columns], { axis: { int: 1 } }) // (N,1) or (N,W)
  }
  const { count, size, padding } = vocabularyPieces(vocabulary)
  const shaped = (value: string) =>
    rank === 1 ? node('Squeeze', [value, int64(1)], {}, output) : node('Identity', [value], {}, output)
  if (count === 1 && !portable) {
    shaped(pick(node('LogSoftmax', [logits], { axis: { int: -1 } })))
    return scribe
  }
  const words = padding === 0 ? logits : node('Pad', [logits, int64(0, 0, 0, padding), scribe.float32(noWord)])
  const pieces = node('Reshape', [words, int64(-1, size)]) // (N·count,size)
  const last = int64(-1)
  const largest = (value: string) => node('ReduceMax', [value, last])
  const inSteps = () => {
    const top = largest(pieces)
    const sum = node('ReduceSum', [node('Exp', [node('Sub', [pieces, top])]), last])
    return node('Add', [float64(top), node('Log', [float64(sum)])])
  }
  const atLargest = () => {
    const parts = node('LogSoftmax', [pieces], { axis: { int: -1 } })
    return node('Sub', [float64(largest(pieces)), float64(largest(parts))])
  }
  const sums = portable ? inSteps() : atLargest() // (N·count,1)
  const total = node('ReduceLogSumExp', [node('Reshape', [sums, int64(-1, count)]), last]) // (N,1)
  const difference = node('Sub', [float64(pick(logits)), total])
  shaped(node('Cast', [difference], { to: { int: elementTypes.float32 } }))
  return scribe
}
