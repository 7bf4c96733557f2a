import { describe, expect, it } from 'vitest'
import { loadChatTemplate } from '../../src/data/chatTemplate.ts'
import { conversationRows } from '../../src/data/conversationRows.ts'
import { loadTokenizer } from '../../src/data/tokenizer.ts'
import { loadModel } from '../../src/model/load.ts'
import { answerTargets, goldenChat, goldenConversations } from '../data/goldenChat.ts'
import { smollm2 } from './smollm2.ts'

const path = await smollm2()

describe.skipIf(path === undefined)('SmolLM2-135M-Instruct', () => {
  it('reads conversations as transformers does, by the template in its file', async () => {
    const model = await loadModel(path!)
    const tokenizer = await loadTokenizer(model.assets, model.sizes['V']!)
    const template = await loadChatTemplate(model.assets)
    const { encoded } = goldenChat.cases.find((golden) => golden.tokenizer === 'smollm2')!
    const options = { template, lossOn: 'answers', rowLength: 256, padTokenId: 2 } as const
    const rows = conversationRows(goldenConversations, tokenizer, options)
    for (const [row, golden] of encoded.entries()) {
      const start = row * rows.rowLength
      expect([...rows.ids.subarray(start, start + golden.ids.length)]).toEqual(golden.ids)
      expect([...rows.targets!.subarray(start, start + golden.ids.length)]).toEqual(answerTargets(golden))
    }
    await model.weights.close()
  })
})
