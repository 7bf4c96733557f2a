import { mkdtemp, readdir, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest'
import { loadTokenizer } from '../../src/data/tokenizer.ts'
import { openLocalEngine } from '../../src/engine/localEngine.ts'
import { CheckpointError, PlanError, UnsupportedModelError } from '../../src/errors.ts'
import { describeGguf, exportGguf } from '../../src/export/gguf.ts'
import { ropeMetadata } from '../../src/export/ggufMetadata.ts'
import { openGgufFile } from '../../src/format/gguf/openGgufFile.ts'
import { writeGguf } from '../../src/format/gguf/writeGguf.ts'
import { applyPlan } from '../../src/model/applyPlan.ts'
import { openModel } from '../../src/model/load.ts'
import type { Model } from '../../src/model/model.ts'
import { encodeBias } from '../../src/model/outputBias.ts'
import { emptyPlan } from '../../src/model/plan.ts'
import type { BlockId, PruningPlan } from '../../src/types.ts'
import * as ask from '../asked.ts'
import { byteTokenizer } from './byteTokenizer.ts'

const root = join(import.meta.dirname, '../..')
let folder = ''
let brown: Model
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'export-gguf-'))
  brown = await openModel('brown-llama', join(root, 'models/brown-llama'))
})
afterAll(async () => {
  await brown.weights.close()
  await rm(folder, { recursive: true })
})

const without = (...blocks: string[]): PruningPlan => ({
  blocks: blocks.map((block) => `decoder.${block}` as BlockId),
  units: {},
})

describe('the form of a plan', () => {
  test('is the own architecture for whole layers, repacked layers and one width for all', () => {
    const each = (kind: string, units: number[]) =>
      Object.fromEntries(Array.from({ length: 12 }, (_, layer) => [`decoder.${layer}.${kind}`, units]))
    const plans = [
      without(),
      without('4.attention', '4.mlp'),
      without('5.mlp', '6.attention'),
      { blocks: [], units: { ...each('attention', [1]), ...each('mlp', [0, 7]) } },
    ]
    expect(plans.map((plan) => describeGguf(brown, plan).architecture)).toEqual(['llama', 'llama', 'llama', 'llama'])
    expect(plans.map((plan) => describeGguf(brown, plan).layers.length)).toEqual([12, 11, 11, 12])
    expect(describeGguf(brown, plans[3]!).layers[0]).toEqual({ heads: 2, kvHeads: 1, channels: 350 })
  })

  test('leaves an attention out by zero heads, but stands one zero head in layer 0, where llama.cpp aborts', () => {
    const { architecture, layers, stubs } = describeGguf(brown, without('0.attention', '5.attention'))
    expect(architecture).toBe('deci')
    expect(layers[0]).toEqual({ heads: 1, kvHeads: 1, channels: 352 })
    expect(layers[5]).toEqual({ heads: 0, kvHeads: 0, channels: 352 })
    expect(stubs).toEqual([{ layer: 0, kind: 'attention' }])
  })

  test('stands 32 zero channels for an mlp, without which llama.cpp skips the attention', () => {
    const { layers, stubs } = describeGguf(brown, without('3.mlp', '11.mlp'))
    expect([layers[3], layers[11]]).toEqual(new Array(2).fill({ heads: 4, kvHeads: 2, channels: 32 }))
    expect(stubs).toEqual([
      { layer: 3, kind: 'mlp' },
      { layer: 11, kind: 'mlp' },
    ])
  })

  test('drops and renumbers a layer that lost both, also at the ends and by losing all units', () => {
    const plan = {
      ...without('0.attention', '0.mlp', '11.attention'),
      units: { 'decoder.11.mlp': range(352) } as const,
    }
    const { places, stubs } = describeGguf(brown, plan)
    expect(places.map(({ attention }) => attention)).toEqual([1, 2, 3, 4, 5, 6, 7, 8, 9, 10])
    expect(stubs).toEqual([])
  })

  test('never has a count of zero where llama.cpp would abort or skip, whatever the plan', () => {
    for (let seed = 0; seed < 200; seed++) {
      const gone = brown.blocks.filter((_, i) => (seed * 2654435761 * (i + 1)) % 7 < seed % 6).map(({ id }) => id)
      if (gone.length === brown.blocks.length) continue
      const { layers } = describeGguf(brown, { blocks: gone, units: {} })
      expect(layers.every(({ channels }) => channels >= 32)).toBe(true)
      expect(layers[0]!.heads).toBeGreaterThan(0)
    }
  })

  test('is refused for a plan that leaves nothing', () => {
    expect(() => describeGguf(brown, without(...brown.blocks.map(({ id }) => id.slice(8))))).toThrow(PlanError)
  })

  test.each(['gpt2', 'gemma3', 'bloom'])('is refused for %s, which no architecture here computes', async (name) => {
    const model = await openModel(name, join(root, 'test/fixtures/tiny-random', name))
    expect(() => describeGguf(model, emptyPlan)).toThrow(UnsupportedModelError)
    await model.weights.close()
  })

  test('is refused for a YaRN of other betas than 32 and 1, which llama.cpp takes whatever the file says', async () => {
    const model = await openModel('qwen3', join(root, 'test/fixtures/tiny-variants/qwen3-yarn'))
    const yarn = { rope_type: 'yarn', rope_theta: 1e4, factor: 4, original_max_position_embeddings: 4096 }
    const withRope = (rope: object) => ({
      ...model,
      config: { ...model.config, rope_theta: null, rope_scaling: null, rope_parameters: rope },
    })
    for (const betas of [{}, { beta_fast: 32, beta_slow: 1 }]) {
      const { entries } = ropeMetadata(withRope({ ...yarn, ...betas }), 'qwen3')
      expect(entries.map(([key]) => key)).toContain('rope.scaling.factor')
    }
    expect(() => ropeMetadata(withRope({ ...yarn, beta_fast: 4 }), 'qwen3')).toThrow(/"beta_fast".*not YaRN's default/)
    await model.weights.close()
  })

  test('is refused for branches of Qwen3, whose head norms deci has not', async () => {
    const model = await openModel('qwen3', join(root, 'test/fixtures/tiny-random/qwen3'))
    expect(describeGguf(model, emptyPlan).architecture).toBe('qwen3')
    expect(() => describeGguf(model, without('1.mlp'))).toThrow(/no norms on heads/)
    await model.weights.close()
  })
})

test('a file of repacked layers computes what the plan does, opened by our own reader', async () => {
  const plan = without('2.attention', '2.mlp', '5.mlp', '6.attention')
  const path = join(folder, 'repacked.gguf')
  const result = await exportGguf(brown, plan, path, { type: 'F32' })
  expect(result).toMatchObject({ architecture: 'llama', layers: 10, stubs: [] })
  const rows = { ids: Int32Array.from({ length: 24 }, (_, i) => (i * 131) % 4096), rows: 2, rowLength: 12 }
  const reopened = await openModel('repacked', path)
  const [a, b] = [openLocalEngine(brown), openLocalEngine(reopened)]
  try {
    expect(isSame(await ask.logits(b, rows, emptyPlan), await ask.logits(a, rows, plan))).toBe(true)
  } finally {
    await Promise.all([a.close(), b.close(), reopened.weights.close()])
  }
})

describe('a file of uneven layers, opened by our own reader,', () => {
  const plans: Record<string, PruningPlan> = {
    'attention only, also the first': without('0.attention', '5.attention'),
    'mlp only, also the last': without('3.mlp', '11.mlp'),
    'a layer emptied': without('0.attention', '4.attention', '4.mlp', '6.mlp', '11.attention'),
    'no attention at all': without(...range(12).map((layer) => `${layer}.attention`)),
    'heads and channels uneven': {
      blocks: ['decoder.2.mlp'],
      units: { 'decoder.1.attention': [0], 'decoder.5.mlp': [1, 2, 100], 'decoder.6.mlp': range(332) },
    },
  }

  test.each(Object.entries(plans))('computes what the plan does: %s', async (name, plan) => {
    const path = join(folder, `${name}.gguf`)
    const { architecture } = await exportGguf(brown, plan, path, { type: 'F32' })
    expect(architecture).toBe('deci')
    const rows = { ids: Int32Array.from({ length: 24 }, (_, i) => (i * 131) % 4096), rows: 2, rowLength: 12 }
    const reopened = await openModel(name, path)
    // the zero blocks that stand for removed ones are no blocks of the model
    const kept = applyPlan(brown, plan)
    expect(reopened.blocks.map(({ kind, units }) => `${kind} ${units}`)).toEqual(
      kept.blocks.map(({ kind, units }) => `${kind} ${units}`),
    )
    const [a, b] = [openLocalEngine(brown), openLocalEngine(reopened)]
    try {
      expect(isSame(await ask.logits(b, rows, emptyPlan), await ask.logits(a, rows, plan))).toBe(true)
      // and what is pruned further is written again
      const again: PruningPlan = { blocks: [reopened.blocks.at(-1)!.id], units: {} }
      await exportGguf(reopened, again, `${path}.again.gguf`)
      const twice = await openModel(name, `${path}.again.gguf`)
      const c = openLocalEngine(twice)
      expect(isSame(await ask.logits(c, rows, emptyPlan), await ask.logits(b, rows, again))).toBe(true)
      await c.close()
      await twice.weights.close()
    } finally {
      await Promise.all([a.close(), b.close(), reopened.weights.close()])
    }
  })
})

test.each([
  ['none of its own', {}],
  ['one that the plan adds to some outputs', { 'decoder.1.attention': 1, 'decoder.2.mlp': 2 }],
  ['one that the plan adds to every output of an attention', { 'decoder.0.attention': 1, 'decoder.1.attention': 2 }],
])('uneven layers of Qwen2, with biases on q, k and v, open again: %s', async (name, added) => {
  const stored = await openModel('qwen2', join(root, 'test/fixtures/tiny-random/qwen2'))
  const V = stored.sizes['V']!
  const model = { ...stored, assets: new Map([['tokenizer.json', async () => byteTokenizer(V)]]) }
  const D = stored.sizes['D']!
  const outputBiases = Object.fromEntries(
    Object.entries(added).map(([id, value]) => [id, encodeBias(new Float32Array(D).fill(value))]),
  )
  const plan: PruningPlan = { ...without('0.mlp', '2.attention'), outputBiases }
  const path = join(folder, `qwen2 ${name}.gguf`)
  expect((await exportGguf(model, plan, path, { type: 'F32' })).architecture).toBe('deci')
  const reopened = await openModel('reopened', path)
  const rows = { ids: Int32Array.from({ length: 24 }, (_, i) => (i * 37 + 5) % V), rows: 2, rowLength: 12 }
  const [a, b] = [openLocalEngine(stored), openLocalEngine(reopened)]
  try {
    expect(isSame(await ask.logits(b, rows, emptyPlan), await ask.logits(a, rows, plan))).toBe(true)
  } finally {
    await Promise.all([a.close(), b.close(), reopened.weights.close(), stored.weights.close()])
  }
})

test('positions scaled as in Llama 3 open again where too few pairs of channels turn to tell how', async () => {
  const stored = await openModel('llama', join(root, 'test/fixtures/tiny-variants/llama-biases'))
  const V = stored.sizes['V']!
  const model = { ...stored, assets: new Map([['tokenizer.json', async () => byteTokenizer(V)]]) }
  const path = join(folder, 'llama3.gguf')
  await exportGguf(model, emptyPlan, path, { type: 'F32' })
  const reopened = await openModel('reopened', path)
  const rows = { ids: Int32Array.from({ length: 24 }, (_, i) => (i * 37 + 5) % V), rows: 1, rowLength: 24 }
  const [a, b] = [openLocalEngine(stored), openLocalEngine(reopened)]
  try {
    expect(isSame(await ask.logits(b, rows, emptyPlan), await ask.logits(a, rows, emptyPlan))).toBe(true)
  } finally {
    await Promise.all([a.close(), b.close(), reopened.weights.close(), stored.weights.close()])
  }
})

test('uneven widths cut heads with their queries, and stubs are zero where they add to the stream', async () => {
  const plan: PruningPlan = {
    blocks: ['decoder.0.attention', 'decoder.3.mlp'],
    units: { 'decoder.1.attention': [0], 'decoder.2.mlp': range(32) },
  }
  const path = join(folder, 'uneven.gguf')
  await exportGguf(brown, plan, path, { type: 'F32' })
  const file = await openGgufFile(path)
  try {
    const value = (key: string) => Array.from(file.metadata.get(`deci.${key}`)!.value.value as Int32Array)
    expect(value('attention.head_count').slice(0, 3)).toEqual([1, 2, 4])
    expect(value('attention.head_count_kv').slice(0, 3)).toEqual([1, 1, 2])
    expect(value('feed_forward_length').slice(1, 5)).toEqual([352, 320, 32, 352])
    expect((await file.readTensor('blk.0.attn_output.weight')).every((x) => x === 0)).toBe(true)
    expect((await file.readTensor('blk.3.ffn_down.weight')).every((x) => x === 0)).toBe(true)
    // row 2j of a head is its channel j, row 2j + 1 its channel j + 16; the heads of group 1 begin at row 64
    const stored = await brown.weights.read('model.layers.1.self_attn.q_proj.weight')
    const written = await file.readTensor('blk.1.attn_q.weight')
    expect(isSame(written.subarray(0, 128), stored.subarray(64 * 128, 65 * 128))).toBe(true)
    expect(isSame(written.subarray(128, 256), stored.subarray(80 * 128, 81 * 128))).toBe(true)
    const down = await brown.weights.read('model.layers.2.mlp.down_proj.weight')
    expect(isSame((await file.readTensor('blk.2.ffn_down.weight')).subarray(0, 320), down.subarray(32, 352))).toBe(true)
  } finally {
    await file.close()
  }
})

describe('a GGUF model', () => {
  let source = ''
  let model: Model
  beforeAll(async () => {
    source = join(folder, 'source.gguf')
    await exportGguf(brown, emptyPlan, source, { type: 'Q4_0' })
    model = await openModel('source', source)
  })
  afterAll(() => model.weights.close())

  test('gives the very same file when nothing is removed and no type is asked for', async () => {
    const path = join(folder, 'copy.gguf')
    await exportGguf(model, emptyPlan, path)
    const [from, to] = [await openGgufFile(source), await openGgufFile(path)]
    try {
      expect([...to.tensors.keys()].sort()).toEqual([...from.tensors.keys()].sort())
      for (const name of from.tensors.keys()) {
        expect(isSame(await from.readTensorBytes(name), await to.readTensorBytes(name))).toBe(true)
      }
      for (const [key, { value }] of from.metadata) {
        if (key !== 'general.file_type' && key !== 'general.name' && !key.startsWith('blockpruner.'))
          expect([key, to.metadata.get(key)?.value]).toEqual([key, value])
      }
    } finally {
      await Promise.all([from.close(), to.close()])
    }
  })

  test('has tensors copied byte for byte where a plan leaves them whole, and whole blocks where it cuts between them', async () => {
    const path = join(folder, 'pruned.gguf')
    const plan: PruningPlan = { blocks: ['decoder.1.mlp'], units: { 'decoder.2.attention': [0], 'decoder.4.mlp': [5] } }
    await exportGguf(model, plan, path)
    const [from, to] = [await openGgufFile(source), await openGgufFile(path)]
    try {
      const [whole, cut] = ['blk.3.attn_q.weight', 'blk.2.attn_output.weight']
      expect(isSame(await to.readTensorBytes(whole), await from.readTensorBytes(whole))).toBe(true)
      // 64 of 128 columns are 2 of 4 blocks in each row
      expect(to.tensors.get(cut)).toMatchObject({ type: 'Q4_0', shape: [128, 64] })
      expect(
        isSame((await to.readTensorBytes(cut)).subarray(0, 36), (await from.readTensorBytes(cut)).subarray(36, 72)),
      ).toBe(true)
      // 351 columns are no whole blocks
      expect(to.tensors.get('blk.4.ffn_down.weight')).toMatchObject({ type: 'F16', shape: [128, 351] })
    } finally {
      await Promise.all([from.close(), to.close()])
    }
  })
})

test('a tokenizer built from tokenizer.json gives the ids of the original when read back', async () => {
  const path = join(folder, 'tokens.gguf')
  await exportGguf(brown, emptyPlan, path, { type: 'Q8_0' })
  const reopened = await openModel('tokens', path)
  try {
    const text = 'The jury said it didn\'t 12345 …\n\n  "Ünïcode" <|endoftext|> end'
    const [ours, theirs] = await Promise.all([brown, reopened].map(({ assets }) => loadTokenizer(assets, 4096)))
    expect(theirs!.encode(text)).toEqual(ours!.encode(text))
  } finally {
    await reopened.weights.close()
  }
})

test('leaves ids of special tokens out that are none of the vocabulary', async () => {
  const path = join(folder, 'special.gguf')
  const V = brown.sizes['V']!
  const config = { ...brown.config, bos_token_id: -1, eos_token_id: [V, 1], pad_token_id: 4 }
  // without names for them in tokenizer_config.json the ids of config.json count
  const assets = new Map([...brown.assets].filter(([name]) => name === 'tokenizer.json'))
  await exportGguf({ ...brown, config, assets }, emptyPlan, path)
  const file = await openGgufFile(path)
  await file.close()
  const named = ['bos', 'eos', 'padding'].map(
    (role) => file.metadata.get(`tokenizer.ggml.${role}_token_id`)?.value.value,
  )
  expect(named).toEqual([undefined, undefined, 4])
  await openModel('special', path).then(({ weights }) => weights.close())
})

test('warns of an id of a special token that is none of the vocabulary, and reads the file without it', async () => {
  const [path, changed] = [join(folder, 'ids.gguf'), join(folder, 'changed-ids.gguf')]
  await exportGguf(brown, emptyPlan, path)
  const file = await openGgufFile(path)
  const tensors = []
  for (const { name, type, shape } of file.tensors.values()) {
    const bytes = await file.readTensorBytes(name)
    tensors.push({ name, type, shape, data: () => [bytes] })
  }
  const metadata = new Map([...file.metadata].map(([key, { value }]) => [key, value]))
  metadata.set('tokenizer.ggml.padding_token_id', { type: 'int32', value: -1 })
  metadata.set('tokenizer.ggml.unknown_token_id', { type: 'uint32', value: 2 ** 32 - 1 })
  await file.close()
  await writeGguf(changed, metadata, tensors)
  const warnings = vi.spyOn(process, 'emitWarning').mockImplementation(() => {})
  try {
    const model = await openModel('changed', changed)
    const tokenizer = await loadTokenizer(model.assets, model.sizes['V']!)
    expect(tokenizer.encode('The law').length).toBeGreaterThan(0)
    expect(model.config['pad_token_id']).toBeNull()
    await model.weights.close()
    expect(warnings.mock.calls.map(([message]) => message)).toEqual([
      expect.stringMatching(
        /metadata "tokenizer\.ggml\.padding_token_id" is -1, expected one of the 4096 tokens; it is ignored/,
      ),
      expect.stringMatching(/unknown_token_id" is 4294967295/),
    ])
  } finally {
    warnings.mockRestore()
  }
})

test('is refused without a tokenizer and for one that llama.cpp splits differently', async () => {
  const path = join(folder, 'refused.gguf')
  await expect(exportGguf({ ...brown, assets: new Map() }, emptyPlan, path)).rejects.toThrow(/no tokenizer.json/)
  const json = JSON.parse(new TextDecoder().decode(byteTokenizer(4096)))
  json.pre_tokenizer.add_prefix_space = true
  const assets = new Map([['tokenizer.json', async () => new TextEncoder().encode(JSON.stringify(json))]])
  await expect(exportGguf({ ...brown, assets }, emptyPlan, path)).rejects.toThrow(/no name for the way it splits/)
  expect((await readdir(folder)).filter((name) => name.startsWith('refused'))).toEqual([])
})

test('values that a half cannot hold are refused, not written as infinite', async () => {
  const weights = {
    ...brown.weights,
    tensors: new Map([...brown.weights.tensors].map(([name, info]) => [name, { ...info, type: 'F32' as const }])),
    async readBytes(name: string) {
      const values = await brown.weights.read(name)
      if (name.includes('up_proj')) values[0] = 70000
      return new Uint8Array(values.buffer)
    },
  }
  const path = join(folder, 'large.gguf')
  await expect(exportGguf({ ...brown, weights }, emptyPlan, path, { type: 'F16' })).rejects.toThrow(CheckpointError)
  await exportGguf({ ...brown, weights }, emptyPlan, path, { type: 'BF16' })
})

/** Equal bit for bit; a difference of large arrays takes minutes to print. */
function isSame(a: Float32Array | Uint8Array, b: Float32Array | Uint8Array): boolean {
  const bytes = (x: Float32Array | Uint8Array) => Buffer.from(x.buffer, x.byteOffset, x.byteLength)
  return bytes(a).equals(bytes(b))
}

function range(count: number): number[] {
  return Array.from({ length: count }, (_, i) => i)
}
