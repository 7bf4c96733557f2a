import { describe, expect, test } from 'vitest'
import { type ModelCard, modelCard } from '../../src/export/modelCard.ts'
import type { Block } from '../../src/types.ts'

const block = (id: string, kind: 'attention' | 'mlp', units: number) =>
  ({ id, kind, units, parameters: 12345 }) as Block
const card: ModelCard = {
  modelId: '/data/someone/models/tiny-llama',
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
        dataset: 'brown:heldout',
        tokens: 20480,
        rowLength: 512,
        startsWithBos: true,
        dense: 33.4,
        pruned: 35.06,
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
    expect(text).toContain('Its perplexity was not measured for this card.')
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
