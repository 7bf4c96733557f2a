import type { Model } from '../model/model.ts'
import type { Block, BlockId } from '../types.ts'

/** Σ|w| and the number of the weights of some blocks. */
export interface WeightSum {
  readonly sum: number
  readonly count: number
}

/**
 * Σ|w| over the matrices and norm scales of each group of blocks, in float64; biases are left out, as in Shortened LLaMA's code.
 * A tensor that several blocks of a group read counts once.
 */
export async function weightSums(model: Model, groups: readonly (readonly BlockId[])[]): Promise<WeightSum[]> {
  const blocks = new Map(model.blocks.map((block) => [block.id, block]))
  const sums: WeightSum[] = []
  for (const group of groups) {
    const names = new Set(group.flatMap((id) => weightNames(blocks.get(id)!)))
    let [sum, count] = [0, 0]
    for (const name of names) {
      const values = await model.weights.read(name)
      for (const value of values) sum += Math.abs(value)
      count += values.length
    }
    sums.push({ sum, count })
  }
  return sums
}

function weightNames({ weights }: Block): string[] {
  return Object.entries(weights)
    .filter(([role]) => !role.endsWith('Bias'))
    .map(([, [name]]) => name)
}
