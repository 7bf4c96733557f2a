import { describe, expect, it } from 'vitest'
import { CheckpointError } from '../../src/errors.ts'
import { describeModel } from '../../src/model/describe.ts'
import type { Model } from '../../src/model/model.ts'
import { checkTiedHead } from '../../src/model/tiedHead.ts'
import { openFixture } from './openFixture.ts'

/** Checkpoints that need not store a head, and how they call one. */
const tied = [
  ['tiny-random/gpt2', 'lm_head.weight', 'transformer.wte.weight'],
  ['tiny-random/gemma', 'lm_head.weight', 'model.embed_tokens.weight'],
  ['tiny-variants/opt-no-biases', 'lm_head.weight', 'decoder.embed_tokens.weight'],
] as const

/** The fixture with one tensor more, of the numbers of `table` and `added` to the last of them. */
async function withHead(path: string, head: string, table: string, added: number): Promise<Model> {
  const { model } = await openFixture(path)
  const { weights, config, assets } = model
  const stored = weights.tensors.get(table)
  if (stored === undefined) throw new Error(`${path} stores ${[...weights.tensors.keys()].join(', ')}`)
  const tensors = new Map([...weights.tensors, [head, { ...stored, name: head }]])
  const read = async (name: string) => {
    const values = await weights.read(name === head ? table : name)
    if (name === head) values[values.length - 1]! += added
    return values
  }
  return describeModel(path, path, { config, assets, weights: { ...weights, tensors, read } })
}

describe.each(tied)('a tied head that %s stores beside its embeddings', (path, head, table) => {
  it('passes where it is the embeddings', async () => {
    const model = await withHead(path, head, table, 0)
    await expect(checkTiedHead(model)).resolves.toBeUndefined()
    await model.weights.close()
  })

  it('is refused where one number differs, because transformers would take it', async () => {
    const model = await withHead(path, head, table, 1e-3)
    const checking = checkTiedHead(model)
    await expect(checking).rejects.toThrow(CheckpointError)
    await expect(checking).rejects.toThrow(`tensor "${head}" holds other numbers than "${table}"`)
    await model.weights.close()
  })
})
