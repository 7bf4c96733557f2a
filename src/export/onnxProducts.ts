import { elementTypes } from '../format/onnx/encode.ts'
import { blockChannels, blockConstants, tableConstants, type WeightValues } from './onnxWeights.ts'
import type { OnnxWriter, Precision } from './onnxWriter.ts'

/** How matrices are stored and multiplied; the names are those of transformers.js. */
export type OnnxDtype = 'fp32' | 'fp16' | 'q8' | 'q4'

/**
 * How decoders attend: by GroupQueryAttention where it computes what the family does, for rows that are padded on the right if at
 * all; or by standard operators, for rows padded on either side.
 */
export type OnnxAttention = 'fused' | 'plain'

export interface Linear {
  /** (…,I) */
  readonly x: string
  readonly matrix: WeightValues
  readonly bias: WeightValues | undefined
  /** The matrix is stored (I,O). */
  readonly inputFirst: boolean
  /** It makes the logits: 4 bits are too few for what decides between words. */
  readonly isHead: boolean
}

/** Writes W x + bias with W as `dtype` stores it. */
export function writeLinear(writer: OnnxWriter, dtype: OnnxDtype, linear: Linear, output: string): string {
  const { matrix, bias, inputFirst, isHead } = linear
  const precision: Precision = dtype === 'fp16' ? 'float16' : 'float32'
  const x = writer.as(linear.x, precision)
  const product = bias === undefined ? output : `${output}/product`
  const write: Record<OnnxDtype, () => void> = {
    fp32: () => writeProduct(writer, x, writer.weight(matrix, 'float32'), inputFirst, product),
    fp16: () => writeProduct(writer, x, writer.weight(matrix, 'float16'), inputFirst, product),
    q8: () => writeBlockProduct(writer, x, matrix, inputFirst, 8, product),
    q4: () => writeBlockProduct(writer, x, matrix, inputFirst, isHead ? 8 : 4, product),
  }
  write[dtype]()
  if (bias !== undefined) writer.node('Add', [product, writer.weight(bias, precision)], output)
  writer.setPrecision(output, precision)
  return output
}

/** x wᵀ with w (O,I) as checkpoints have it, or x w with w (I,O). */
function writeProduct(writer: OnnxWriter, x: string, w: string, inputFirst: boolean, output: string): void {
  if (inputFirst) writer.node('MatMul', [x, w], output)
  else writer.node('FusedMatMul', [x, w], output, { transB: { int: 1 } }, 'com.microsoft')
}

function writeBlockProduct(
  writer: OnnxWriter,
  x: string,
  matrix: WeightValues,
  inputFirst: boolean,
  bits: 4 | 8,
  output: string,
): void {
  const [first, second] = matrix.dims as [number, number]
  const [outputs, inputs] = inputFirst ? [second, first] : [first, second]
  const constants = blockConstants(matrix, inputFirst, bits).map((each) => writer.constant(each))
  const attributes = {
    K: { int: inputs },
    N: { int: outputs },
    bits: { int: bits },
    block_size: { int: blockChannels },
    // inputs in blocks of 8 bits too: ten times faster for one token on a CPU than in float32, which is the default
    accuracy_level: { int: 4 },
  }
  writer.node('MatMulNBits', [x, ...constants], output, attributes, 'com.microsoft')
}

/** Writes the rows `ids` of a table of words, which has 8 bits in q8 and q4. */
export function writeEmbedding(
  writer: OnnxWriter,
  dtype: OnnxDtype,
  table: WeightValues,
  ids: string,
  output: string,
): string {
  if (dtype === 'fp32' || dtype === 'fp16') {
    const precision: Precision = dtype === 'fp16' ? 'float16' : 'float32'
    writer.setPrecision(output, precision)
    return writer.node('Gather', [writer.weight(table, precision), ids], output)
  }
  const parts = tableConstants(table).map((each, i) =>
    writer.node('Gather', [writer.constant(each), ids], `${output}/part_${i}`),
  )
  const [codes, scales, zeros] = parts as [string, string, string]
  const toFloat = { to: { int: elementTypes.float32 } }
  const code = writer.node('Cast', [codes], `${output}/code`, toFloat)
  const zero = writer.node('Cast', [zeros], `${output}/zero`, toFloat)
  writer.setPrecision(output, 'float32')
  return writer.node('Mul', [writer.node('Sub', [code, zero], `${output}/centred`), scales], output)
}
