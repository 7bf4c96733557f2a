import type { OnnxInitializer, OnnxNode } from '../format/onnx/encode.ts'
import type { OperationAttributes } from './operations.ts'

/**
 * How fused attention walks the queries of a row. onnxruntime 1.30's kernel computes the scores of every query with every key it
 * is given, those that the mask hides too: pieces of `size` queries, each with the keys up to its end, leave most of that out.
 * Keys come from the piece before as they come from a cache, so the numbers are the same, to the last bit unless a piece is one query.
 */
export interface QueryPieces {
  readonly count: number
  readonly size: number
}

/** Below, the operators' own cost is more than what a smaller piece saves (measured at 1,024 tokens, 8 heads of 64 channels). */
const leastPiece = 128
const mostPieces = 8

/**
 * The pieces for `rows` rows of `tokens`: few different ones, because each needs a session of its own. Undefined where one piece
 * is all there is, and for several rows: the kernel takes a prompt behind a cache for one row alone.
 */
export function queryPieces(rows: number, tokens: number): QueryPieces | undefined {
  const size = leastPiece * Math.ceil(tokens / mostPieces / leastPiece)
  return rows > 1 || tokens <= size ? undefined : { count: Math.ceil(tokens / size), size }
}

interface Operands {
  /** q, k, v, last, length, and cos and sin where positions are rotary. */
  readonly inputs: readonly string[]
  readonly output: string
}

/** The ONNX form of `groupQueryAttention` in one piece, or in the pieces given. */
export function lowerGroupQueryAttention(
  attributes: OperationAttributes['groupQueryAttention'],
  operands: Operands,
  pieces: QueryPieces | undefined,
): { nodes: readonly OnnxNode[]; initializers: readonly OnnxInitializer[] } {
  const { inputs, output } = operands
  const [q, k, v, last, length, ...turned] = inputs as [string, string, string, string, string, ...string[]]
  if (pieces === undefined) {
    return { nodes: [attention(attributes, [q, k, v, '', '', last, length, ...turned], output)], initializers: [] }
  }
  const nodes: OnnxNode[] = []
  const initializers: OnnxInitializer[] = []
  const number = (name: string, type: 'int32' | 'int64', value: number, dims: readonly number[]) => {
    const data = type === 'int32' ? Int32Array.of(value) : BigInt64Array.of(BigInt(value))
    initializers.push({ name: `${output}_${name}`, type, dims, data: new Uint8Array(data.buffer) })
    return `${output}_${name}`
  }
  const apply = (type: string, name: string, operands: string[], attributes?: OnnxNode['attributes']) => {
    nodes.push({ type, inputs: operands, outputs: [`${output}_${name}`], ...(attributes && { attributes }) })
    return `${output}_${name}`
  }
  const axis = number('axis', 'int64', 1, [1])
  const ends = Array.from({ length: pieces.count + 1 }, (_, i) => number(`end_${i}`, 'int64', i * pieces.size, [1]))
  let past = ['', '']
  const parts: string[] = []
  for (let i = 0; i < pieces.count; i++) {
    const end = (i + 1) * pieces.size
    const [qs, ks, vs] = [q, k, v].map((x, part) =>
      apply('Slice', `${'qkv'[part]}_${i}`, [x, ends[i]!, ends[i + 1]!, axis]),
    ) as [string, string, string]
    // the last piece may be shorter
    const lastOfPiece = apply('Min', `last_${i}`, [last, number(`lastOf_${i}`, 'int32', end - 1, [1])])
    const lengthOfPiece = apply('Min', `length_${i}`, [length, number(`lengthOf_${i}`, 'int32', end, [])])
    const part = `${output}_${i}`
    nodes.push(attention(attributes, [qs, ks, vs, ...past, lastOfPiece, lengthOfPiece, ...turned], part))
    past = presentOf(part)
    parts.push(part)
  }
  nodes.push({ type: 'Concat', inputs: parts, outputs: [output], attributes: { axis: { int: 1 } } })
  return { nodes, initializers }
}

/** Keys and values up to the end of the queries. */
const presentOf = (output: string): string[] => [`${output}_presentKey`, `${output}_presentValue`]

function attention(
  attributes: OperationAttributes['groupQueryAttention'],
  inputs: readonly string[],
  output: string,
): OnnxNode {
  const { heads, kvHeads, scale, window, softcap } = attributes
  return {
    type: 'GroupQueryAttention',
    domain: 'com.microsoft',
    inputs,
    outputs: [output, ...presentOf(output)],
    attributes: {
      num_heads: { int: heads },
      kv_num_heads: { int: kvHeads },
      scale: { float: scale },
      do_rotary: { int: inputs.length > 7 ? 1 : 0 },
      ...(window !== undefined && { local_window_size: { int: window } }),
      ...(softcap !== undefined && { softcap: { float: softcap } }),
    },
  }
}
