import { describe, expect, it } from 'vitest'
import { blocksNamed, partsOfList } from '../../src/model/blockList.ts'
import { openFixture } from './openFixture.ts'

const { model: llama } = await openFixture('tiny-random/llama')
const { model: bart } = await openFixture('tiny-random/bart')
const last = llama.blocks.at(-1)!.layer

const named = (text: string, model = llama) => blocksNamed(model, partsOfList(text), '--remove-blocks')

describe('a list of blocks', () => {
  it('names blocks, whole layers and ranges of layers, in the order written', () => {
    expect(named('decoder.1.mlp')).toEqual(['decoder.1.mlp'])
    expect(named('decoder.1, decoder.0.mlp')).toEqual(['decoder.1.attention', 'decoder.1.mlp', 'decoder.0.mlp'])
    expect(named('decoder.0-1')).toEqual([
      'decoder.0.attention',
      'decoder.0.mlp',
      'decoder.1.attention',
      'decoder.1.mlp',
    ])
    expect(named('decoder.0-1.attention')).toEqual(['decoder.0.attention', 'decoder.1.attention'])
    expect(named('encoder.0,decoder.0.crossAttention', bart)).toEqual([
      'encoder.0.attention',
      'encoder.0.mlp',
      'decoder.0.crossAttention',
    ])
  })

  it('takes a block once that is named twice', () => {
    expect(named('decoder.0.mlp,decoder.0')).toEqual(['decoder.0.mlp', 'decoder.0.attention'])
  })

  it.each([
    [
      `decoder.${last + 1}`,
      `"decoder.${last + 1}" names layer ${last + 1}, but the decoder of ${llama.id} has layers 0 to ${last}`,
    ],
    [`decoder.0-${last + 1}`, `names layer ${last + 1}`],
    ['decoder.1-0', 'expected the lower layer first: decoder.0-1'],
    ['encoder.0', `names the stack "encoder", but ${llama.id} has decoder`],
    ['constructor.0', `names the stack "constructor"`],
    ['decoder.0.attn', 'its kinds there are attention, mlp'],
    ['decoder.0.crossAttention', 'its kinds there are attention, mlp'],
    ['7', `"7" is no block, expected a layer, a block or a range of layers, as in decoder.${last},`],
    ['decoder.0,', '"" is no block'],
  ])('says what is wrong with %s', (text, message) => {
    expect(() => named(text)).toThrow(`--remove-blocks: `)
    expect(() => named(text)).toThrow(message)
  })

  it('refuses a list of nothing', () => {
    expect(() => blocksNamed(llama, [], 'plan.json: blocks')).toThrow('plan.json: blocks: names no block')
  })
})
