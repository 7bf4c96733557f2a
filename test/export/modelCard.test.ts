import { describe, expect, test } from 'vitest'
import { type ModelCard, modelCard } from '../../src/export/modelCard.ts'
import type { Block } from '../../src/types.ts'

const block = (id: string, kind: 'attention' | 'mlp', units: number) =>
  ({ id, kind, units, parameters: 12345 }) as Block
const card: ModelCard = {
  modelId: '/data/someone/models/tiny-llama',
  task: 'nextToken',
  form: 'repacked',
  layers: { dense: 12, pruned: 11 },
  parameters: { dense: 2_000_000, pruned: 1_850_000 },
  removed: [block('decoder.3.attention', 'attention', 2)],
  narrowed: [{ block: block('decoder.4.mlp', 'mlp', 352), removedUnits: 52 }],
}

describe('the model card', () => {
  test('says what was removed, what it cost and how to load it', () => {
    const text = modelCard({
      ...card,
      baseModel: 'example/tiny-llama',
      license: 'apache-2.0',
      method: 'BlockPruner on brown:train',
      measured: {
        task: 'nextToken',
        dataset: 'brown:heldout',
        tokens: 20480,
        rowLength: 512,
        startsWithBos: true,
        dense: Math.log(33.4),
        pruned: Math.log(35.06),
      },
    })
    expect(text).toBe(`---
base_model: "example/tiny-llama"
license: "apache-2.0"
library_name: transformers
tags:
- pruned
- blockpruner
---

# example/tiny-llama, pruned

Structure was left out of this model with [blockpruner](https://www.npmjs.com/package/blockpruner) (BlockPruner on brown:train). The weights that remain are unchanged.

| | dense | pruned |
|---|---:|---:|
| parameters | 2,000,000 | 1,850,000 (92.5 %) |
| layers | 12 | 11 |
| perplexity, brown:heldout | 33.400 | 35.060 |

Perplexity is per token, over 20,480 tokens in rows of 512, each beginning with the BOS token.

## Removed

Layers are numbered as in the dense model.

| block | removed | parameters |
|---|---|---:|
| \`decoder.3.attention\` | all | 12,345 |
| \`decoder.4.mlp\` | 52 of 352 channels |  |

## Loading

A stock checkpoint: the attention of one layer and the MLP of a later one make a layer together. Any software that loads the dense model loads this one.

\`\`\`python
from transformers import AutoModelForCausalLM, AutoTokenizer

model = AutoModelForCausalLM.from_pretrained("path/to/this/folder", dtype="auto")
tokenizer = AutoTokenizer.from_pretrained("path/to/this/folder")
\`\`\`
`)
  })

  test('never shows the path of the model, and says when nothing was measured', () => {
    const text = modelCard(card)
    expect(text).toContain('# tiny-llama, pruned')
    expect(text).not.toContain('/data')
    expect(text).not.toContain('base_model')
    expect(text).toContain('What this cost was not measured for this card.')
  })

  test.each([
    ['maskedToken', 'masked-LM loss', 'in nats per masked token', 'AutoModelForMaskedLM'],
    ['rowClass', 'classification loss', 'in nats per row', 'AutoModelForSequenceClassification'],
    ['spanCorruption', 'span-corruption loss', 'in nats per target token', 'AutoModelForSeq2SeqLM'],
    ['pairs', 'loss of the targets', 'in nats per target token', 'AutoModelForSeq2SeqLM'],
    ['hiddenStates', 'hidden-state distance', '1 - cosine of the final hidden states', 'AutoModel'],
  ] as const)('of %s never speaks of perplexity, and loads with the class of its head', (task, name, note, loader) => {
    const measured = { dataset: 'brown:test', tokens: 100, rowLength: 10, startsWithBos: false }
    const text = modelCard({ ...card, task, measured: { ...measured, task, dense: 0.25, pruned: 1.5 } })
    expect(text).toContain(`| ${name}, brown:test | 0.25000 | 1.50000 |`)
    expect(text).toContain(note)
    expect(text).toContain(`from transformers import ${loader}, AutoTokenizer`)
    expect(text).not.toMatch(/perplexity/i)
  })

  test('tells the hub and the reader about remote code', () => {
    const text = modelCard({ ...card, form: 'custom' })
    expect(text).toContain('- custom_code')
    expect(text).toContain('dtype="auto", trust_remote_code=True)')
  })

  test('keeps a value with YAML in it on its line', () => {
    expect(modelCard({ ...card, license: 'x\ntags: y' })).toContain('license: "x\\ntags: y"\n')
  })
})
