import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { configText } from '../../src/export/configText.ts'
import type { Model } from '../../src/model/model.ts'
import type { ModelConfig } from '../../src/types.ts'

async function textOf(original: string, change: (config: ModelConfig) => ModelConfig): Promise<string> {
  const path = await mkdtemp(join(tmpdir(), 'config-'))
  try {
    await writeFile(join(path, 'config.json'), original)
    return await configText({ path } as Model, change(JSON.parse(original)))
  } finally {
    await rm(path, { recursive: true })
  }
}

test('writes numbers as the original config spells them, wherever they are', async () => {
  const original = `{
  "cap": 30.0,
  "count": 30,
  "epsilon": 1e-05,
  "negative": -1.0,
  "rope": {
    "factor": 8.0,
    "long": [
      1.0,
      2
    ]
  },
  "text": "cap 30.0, \\"30.0\\": 7.0",
  "nothing": null
}
`
  expect(await textOf(original, (config) => config)).toBe(original)
})

test('writes a number that changed as itself, and what is new or gone', async () => {
  const changed = await textOf('{"layers": 4.0, "cap": 30.0, "old": 1.0}', ({ cap }) => ({
    layers: 3,
    cap,
    head_dim: 8,
  }))
  expect(changed).toBe('{\n  "layers": 3,\n  "cap": 30.0,\n  "head_dim": 8\n}\n')
})

test('writes decimals by key for a model that has no config.json', async () => {
  const config = {
    rope_theta: 10000,
    hidden_size: 64,
    rope_scaling: { factor: 8, rope_type: 'linear' },
    rms_norm_eps: 1e-6,
  }
  expect(await configText({ path: '/none/model.gguf' } as Model, config)).toBe(
    `{
  "rope_theta": 10000.0,
  "hidden_size": 64,
  "rope_scaling": {
    "factor": 8.0,
    "rope_type": "linear"
  },
  "rms_norm_eps": 0.000001
}
`,
  )
})
