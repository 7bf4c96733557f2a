import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { exportHuggingFace } from '../../src/export/huggingface.ts'
import { openSafetensors } from '../../src/format/safetensors/read.ts'
import { applyPlan } from '../../src/model/applyPlan.ts'
import { llama } from '../../src/model/architectures/llama.ts'
import { shapeOf } from '../../src/model/axes.ts'
import { readCustomConfig } from '../../src/model/customConfig.ts'
import { describeModel } from '../../src/model/describe.ts'
import { findArchitecture } from '../../src/model/families.ts'
import { openModel } from '../../src/model/load.ts'
import type { Model } from '../../src/model/model.ts'
import { emptyPlan } from '../../src/model/plan.ts'
import type { BlockId, ModelConfig, PruningPlan, StoredType, TensorInfo, WeightTable } from '../../src/types.ts'

const config = {
  architectures: ['LlamaForCausalLM'],
  model_type: 'llama',
  torch_dtype: 'bfloat16',
  hidden_size: 8,
  intermediate_size: 6,
  num_attention_heads: 4,
  num_key_value_heads: 2,
  num_hidden_layers: 3,
  vocab_size: 5,
  rms_norm_eps: 1e-5,
  tie_word_embeddings: true,
}

/** A decoder, a Llama unless given otherwise, whose element i of tensor n is 1000·n + i, stored as `type`, names spelled by `spell`. */
function decoderOf(type: StoredType, given: ModelConfig = config, spell = (name: string) => name): Model {
  const architecture = findArchitecture(given)
  const decoder = architecture.stacks.decoder!
  const sizes = architecture.sizes(given)
  const tables: WeightTable[] = [architecture.outer(given, () => false)]
  for (let layer = 0; layer < decoder.layers(given); layer++) {
    for (const { weights } of decoder.blocks) {
      const named = Object.entries(weights(given, layer)).map(([role, [name, axes]]) => [
        role,
        [name.replace('{layer}', `${layer}`), axes],
      ])
      tables.push(Object.fromEntries(named) as WeightTable)
    }
  }
  const tensors = new Map<string, TensorInfo>()
  for (const [name, axes] of tables.flatMap((table) => Object.values(table))) {
    tensors.set(spell(name), { name: spell(name), type, shape: shapeOf(axes, sizes) })
  }
  const read = async (name: string) => {
    const elements = tensors.get(name)!.shape.reduce((product, size) => product * size, 1)
    const number = [...tensors.keys()].indexOf(name)
    return Float32Array.from({ length: elements }, (_, i) => 1000 * number + i)
  }
  const readBytes = async (name: string) => new Uint8Array((await read(name)).buffer)
  const assets = new Map([['tokenizer.json', async () => new TextEncoder().encode('{"a":1}')]])
  const weights = { tensors, files: [], read, readBytes, close: async () => {} }
  return describeModel('toy', 'toy', { config: given, weights, assets })
}

const without = (...blocks: string[]): PruningPlan => ({
  blocks: blocks.map((block) => `decoder.${block}` as BlockId),
  units: {},
})

let folder = ''
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'export-'))
})
afterAll(() => rm(folder, { recursive: true }))

/** Exports and reads back: config, and the values of every tensor. */
async function exported(name: string, model: Model, plan: PruningPlan) {
  const written = await exportHuggingFace(model, plan, join(folder, name))
  const store = await openSafetensors(join(folder, name, 'model.safetensors'))
  const tensors: Record<string, Float32Array> = {}
  for (const tensor of store.tensors.keys()) tensors[tensor] = await store.read(tensor)
  await store.close()
  const { blockpruner: record, ...config } = JSON.parse(await readFile(join(folder, name, 'config.json'), 'utf8'))
  return { ...written, config, record, tensors, infos: store.tensors }
}

describe('a Hugging Face export', () => {
  test('carries everything along when nothing is removed', async () => {
    const model = decoderOf('F32')
    const { form, tensors, parameters, config: left } = await exported('dense', model, emptyPlan)
    expect(form).toBe('whole')
    expect(parameters).toBe(model.parameters)
    expect(Object.keys(tensors).sort()).toEqual([...model.weights.tensors.keys()].sort())
    for (const [name, values] of Object.entries(tensors)) expect(values).toEqual(await model.weights.read(name))
    expect(left).toEqual({ ...config, torch_dtype: 'float32' })
    expect((await readdir(join(folder, 'dense'))).sort()).toEqual([
      'README.md',
      'config.json',
      'model.safetensors',
      'tokenizer.json',
    ])
    expect(await readFile(join(folder, 'dense', 'tokenizer.json'), 'utf8')).toBe('{"a":1}')
  })

  test('takes a repacked layer from two old ones, each branch with its own norm', async () => {
    const model = decoderOf('F32')
    const { form, tensors, config: left } = await exported('repacked', model, without('0.mlp', '1.attention'))
    const dense = (name: string) => model.weights.read(`model.layers.${name}`)
    expect(form).toBe('repacked')
    expect(tensors['model.layers.0.input_layernorm.weight']).toEqual(await dense('0.input_layernorm.weight'))
    expect(tensors['model.layers.0.self_attn.k_proj.weight']).toEqual(await dense('0.self_attn.k_proj.weight'))
    expect(tensors['model.layers.0.post_attention_layernorm.weight']).toEqual(
      await dense('1.post_attention_layernorm.weight'),
    )
    expect(tensors['model.layers.0.mlp.down_proj.weight']).toEqual(await dense('1.mlp.down_proj.weight'))
    expect(tensors['model.layers.1.mlp.up_proj.weight']).toEqual(await dense('2.mlp.up_proj.weight'))
    expect(tensors).not.toHaveProperty('model.layers.2.mlp.up_proj.weight')
    expect(left).toMatchObject({ model_type: 'llama', num_hidden_layers: 2 })
  })

  test('cuts one width for all to a stock config', async () => {
    const units = Object.fromEntries([0, 1, 2].map((layer) => [`decoder.${layer}.mlp`, [layer, 5]]))
    const model = decoderOf('F32')
    const { form, tensors, infos, config: left } = await exported('narrow', model, { blocks: [], units })
    expect(form).toBe('whole')
    expect(left).toMatchObject({ model_type: 'llama', intermediate_size: 4 })
    expect(infos.get('model.layers.1.mlp.down_proj.weight')?.shape).toEqual([8, 4])
    const down = await model.weights.read('model.layers.1.mlp.down_proj.weight')
    const kept = [0, 2, 3, 4]
    expect([...tensors['model.layers.1.mlp.down_proj.weight']!.subarray(0, 4)]).toEqual(
      kept.map((channel) => down[channel]),
    )
  })

  test('writes the golden config of a custom export, and its code', async () => {
    const {
      form,
      layout,
      config: left,
    } = await exported('custom', decoderOf('F32'), {
      blocks: ['decoder.1.attention', 'decoder.0.attention', 'decoder.2.mlp'],
      units: { 'decoder.2.attention': [0], 'decoder.1.mlp': [0, 1, 2] },
    })
    expect(form).toBe('custom')
    expect(layout.stacks).toEqual({ decoder: [{ mlp: 0 }, { mlp: 1 }, { attention: 2 }] })
    const golden = await readFile(join(import.meta.dirname, '../fixtures/export/custom.config.json'), 'utf8')
    const text = await readFile(join(folder, 'custom', 'config.json'), 'utf8')
    expect(text.replace(/,\n {2}"blockpruner": \{[^}]*\}/, '')).toBe(golden)
    const code = await readFile(join(folder, 'custom', 'modeling_blockpruner.py'), 'utf8')
    for (const name of Object.values(left.auto_map as Record<string, string>)) {
      expect(code).toContain(`class ${name.replace('modeling_blockpruner.', '')}(`)
    }
  })

  test('says in a custom config what its tensors are: no other block, no other shape', async () => {
    const { infos, config: left } = await exported('reopened', decoderOf('F32'), {
      blocks: ['decoder.0.attention', 'decoder.2.mlp'],
      units: { 'decoder.1.attention': [1], 'decoder.0.mlp': [4, 5] },
    })
    const { config: base, absent, units } = readCustomConfig(left)
    const sizes = llama.sizes(base)
    const expected = new Map<string, number[]>()
    for (const [name, axes] of Object.values(llama.outer(base, () => false))) expected.set(name, shapeOf(axes, sizes))
    for (let layer = 0; layer < llama.stacks.decoder!.layers(base); layer++) {
      for (const { kind, unit, weights } of llama.stacks.decoder!.blocks) {
        const id: BlockId = `decoder.${layer}.${kind}`
        if (absent.includes(id)) continue
        const own = { ...sizes, [unit]: units[id] ?? sizes[unit]! }
        for (const [name, axes] of Object.values(weights(base, layer))) {
          expected.set(name.replace('{layer}', `${layer}`), shapeOf(axes, own))
        }
      }
    }
    expect(new Map([...infos].map(([name, { shape }]) => [name, shape]))).toEqual(expected)
  })

  test('can be opened and exported again, and is stock again where the layers become complete', async () => {
    const first = await exported('first', decoderOf('F32'), {
      blocks: ['decoder.0.attention'],
      units: { 'decoder.1.mlp': [0] },
    })
    const reopened = await openModel('again', join(folder, 'first'))
    try {
      const again = await exported('again', reopened, emptyPlan)
      expect(again.tensors).toEqual(first.tensors)
      expect({ ...again.config, block_layout: {} }).toEqual({ ...first.config, block_layout: {} })
      expect(again.config.block_layout.decoder[1].mlp.channels).toBe(5)
      const whole = await exported('again-whole', reopened, without('0.mlp', '1.attention', '1.mlp'))
      expect(whole.form).toBe('whole')
      expect(whole.config).toEqual({ ...config, torch_dtype: 'float32', num_hidden_layers: 1 })
    } finally {
      await reopened.weights.close()
    }
  })

  test.each(['llama', 'gemma2', 'gemma3_text'])(
    'is custom where transformers would refuse the number of heads of a %s, though all layers are alike',
    async (type) => {
      const heads = { hidden_size: 16, num_attention_heads: 8, num_key_value_heads: 8, head_dim: 2 }
      const units = Object.fromEntries([0, 1, 2].map((layer) => [`decoder.${layer}.attention`, [3]]))
      const model = decoderOf('F32', { ...config, ...heads, model_type: type })
      const { form, config: left } = await exported(`seven-${type}`, model, { blocks: [], units })
      expect(form).toBe('custom')
      expect(left).toMatchObject({ num_attention_heads: 8, num_key_value_heads: 8 })
      expect(left.block_layout.decoder[0].attention.heads).toEqual([0, 1, 2, 4, 5, 6, 7])
    },
  )

  test('keeps the layers of a model without blocks empty', async () => {
    const model = decoderOf('F32')
    const {
      form,
      tensors,
      config: left,
    } = await exported('empty', model, {
      blocks: model.blocks.map(({ id }) => id),
      units: {},
    })
    expect(form).toBe('whole')
    expect(left.num_hidden_layers).toBe(0)
    expect(Object.keys(tensors).sort()).toEqual(['model.embed_tokens.weight', 'model.norm.weight'])
  })

  test('writes quantised types of GGUF as the float32 values they mean', async () => {
    const model = decoderOf('Q4_K')
    const { infos, tensors, config: left } = await exported('quantised', model, without('0.attention', '0.mlp'))
    expect(new Set([...infos.values()].map(({ type }) => type))).toEqual(new Set(['F32']))
    expect(tensors['model.norm.weight']).toEqual(await model.weights.read('model.norm.weight'))
    expect(left.torch_dtype).toBe('float32')
  })

  test('gives every tensor the name of the family, whatever the checkpoint calls it', async () => {
    const bare = decoderOf('F32', config, (name) => name.replace('model.', ''))
    const { tensors } = await exported('bare', bare, without('2.attention', '2.mlp'))
    expect(Object.keys(tensors).every((name) => name.startsWith('model.'))).toBe(true)
  })

  test('applies a plan after plans that were applied before', async () => {
    const first = without('1.attention')
    const both = without('1.attention', '0.mlp')
    const once = await exported('once', decoderOf('F32'), both)
    const twice = await exported('twice', applyPlan(decoderOf('F32'), first), without('0.mlp'))
    expect(twice.tensors).toEqual(once.tensors)
    expect(twice.config).toEqual(once.config)
    expect(twice.record).toEqual(once.record)
    expect(once.record.plan_sha256).toMatch(/^[0-9a-f]{64}$/)
  })

  test('refuses a folder with files in it, and replaces it when asked', async () => {
    const place = join(folder, 'taken')
    await exportHuggingFace(decoderOf('F32'), emptyPlan, place)
    await writeFile(join(place, 'mine.txt'), 'mine')
    await expect(exportHuggingFace(decoderOf('F32'), emptyPlan, place)).rejects.toThrow(
      'expected a new or an empty folder',
    )
    expect(await readFile(join(place, 'mine.txt'), 'utf8')).toBe('mine')
    await exportHuggingFace(decoderOf('F32'), emptyPlan, place, { replace: true })
    expect(await readdir(place)).not.toContain('mine.txt')
  })

  test('leaves nothing behind when a weight cannot be read', async () => {
    const model = decoderOf('F32')
    const broken: Model = {
      ...model,
      weights: { ...model.weights, readBytes: () => Promise.reject(new Error('unplugged')) },
    }
    await expect(exportHuggingFace(broken, emptyPlan, join(folder, 'broken'))).rejects.toThrow('unplugged')
    expect((await readdir(folder)).filter((name) => name.includes('broken'))).toEqual([])
  })

  test('stops when asked to', async () => {
    const stop = new AbortController()
    stop.abort(new Error('enough'))
    const written = exportHuggingFace(decoderOf('F32'), emptyPlan, join(folder, 'stopped'), { signal: stop.signal })
    await expect(written).rejects.toThrow('enough')
  })
})
