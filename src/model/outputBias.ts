import { createHash } from 'node:crypto'
import type { BlockId, BlockKind, PruningPlan, WeightTable } from '../types.ts'

/** Roles of the matrix that a branch ends with and of its bias. */
export const outputRoles: Readonly<Record<BlockKind, { readonly matrix: string; readonly bias: string }>> = {
  attention: { matrix: 'oProj', bias: 'oBias' },
  crossAttention: { matrix: 'oProj', bias: 'oBias' },
  mlp: { matrix: 'downProj', bias: 'downBias' },
}

/** D numbers as a plan carries them: base64 of little-endian float32. */
export function encodeBias(values: ArrayLike<number>): string {
  const bytes = Buffer.alloc(values.length * 4)
  for (let i = 0; i < values.length; i++) bytes.writeFloatLE(values[i]!, i * 4)
  return bytes.toString('base64')
}

/** The numbers that `encodeBias` wrote. */
export function decodeBias(text: string): Float32Array<ArrayBuffer> {
  const bytes = Buffer.from(text, 'base64')
  return Float32Array.from({ length: Math.floor(bytes.length / 4) }, (_, i) => bytes.readFloatLE(i * 4))
}

/** A text that is equal for equal biases; undefined for a plan without any. */
export function biasDigest({ outputBiases = {} }: PruningPlan): string | undefined {
  const entries = Object.entries(outputBiases).sort(([a], [b]) => (a < b ? -1 : 1))
  if (entries.length === 0) return undefined
  return createHash('sha256').update(JSON.stringify(entries)).digest('hex').slice(0, 16)
}

/** The weights of a block with a bias of its output, under the name that goes with its matrix where it had none. */
export function withOutputBias(kind: BlockKind, weights: WeightTable): WeightTable {
  const { matrix, bias } = outputRoles[kind]
  const output = weights[matrix]
  if (weights[bias] !== undefined || output === undefined) return weights
  return { ...weights, [bias]: [output[0].replace(/(\.weight)?$/, '.bias'), 'D'] }
}

/** The biases of `plan`, block by block. */
export function outputBiasesOf({ outputBiases = {} }: PruningPlan): [BlockId, string][] {
  return Object.entries(outputBiases) as [BlockId, string][]
}
