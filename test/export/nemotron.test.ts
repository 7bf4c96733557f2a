import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { PlanError, UnsupportedModelError } from '../../src/errors.ts'
import { describeNemotron, exportNemotron } from '../../src/export/nemotron.ts'
import { openSafetensors } from '../../src/format/safetensors/read.ts'
import { openModel } from '../../src/model/load.ts'
import { encodeBias } from '../../src/model/outputBias.ts'
import { emptyPlan } from '../../src/model/plan.ts'

const root = join(import.meta.dirname, '../..')
const model = await openModel('brown-llama', join(root, 'models/brown-llama'))
let folder = ''
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'nemotron-'))
})
afterAll(() => rm(folder, { recursive: true }))

test('says layer by layer what there is', async () => {
  const path = join(folder, 'model')
  await exportNemotron(
    model,
    {
      blocks: ['decoder.1.attention', 'decoder.3.mlp', 'decoder.5.mlp', 'decoder.5.attention'],
      units: { 'decoder.6.mlp': [0, 1] },
    },
    path,
  )
  const config = JSON.parse(await readFile(join(path, 'config.json'), 'utf8'))
  expect(config).toMatchObject({
    architectures: ['DeciLMForCausalLM'],
    model_type: 'nemotron-nas',
    num_hidden_layers: 11,
  })
  // nothing of the form for transformers
  expect(Object.keys(config).filter((key) => /^block_(?!configs)|^base_|intermediate/.test(key))).toEqual([])
  const [attention, ffn] = [
    { no_op: false, replace_with_linear: false, n_heads_in_group: 2 },
    { no_op: false, replace_with_linear: false, intermediate_size: 352 },
  ]
  expect(config.block_configs[0]).toEqual({ attention, ffn })
  expect(config.block_configs[1].attention).toEqual({ ...attention, no_op: true, n_heads_in_group: null })
  expect(config.block_configs[3].ffn).toEqual({ ...ffn, no_op: true, intermediate_size: null })
  expect(config.block_configs[5].ffn).toEqual({ ...ffn, intermediate_size: 350 })
  const weights = await openSafetensors(join(path, 'model.safetensors'))
  expect(weights.tensors.has('model.layers.1.self_attn.q_proj.weight')).toBe(false)
  expect(weights.tensors.has('model.layers.1.mlp.up_proj.weight')).toBe(true)
  expect(weights.tensors.get('model.layers.5.mlp.up_proj.weight')?.shape).toEqual([350, 128])
  await weights.close()
  expect(await readdir(path)).toContain('configuration_blockpruner_decilm.py')
})

test('says widths as multiples of 256, which every reader knows, where all of them are', () => {
  const units = Object.fromEntries(
    Array.from({ length: 12 }, (_, layer) => [`decoder.${layer}.mlp`, Array.from({ length: 96 }, (_, i) => i)]),
  )
  const { config } = describeNemotron(model, { blocks: ['decoder.2.mlp'], units })
  const layers = config['block_configs'] as { ffn: Record<string, unknown> }[]
  // int(2 · 3 · 128 / 3) = 256
  expect(layers[0]!.ffn).toEqual({ no_op: false, replace_with_linear: false, ffn_mult: 3 })
  expect(layers[2]!.ffn).toEqual({ no_op: true, replace_with_linear: false, ffn_mult: null })
})

test('spells positions and types as transformers 4 does, which SGLang and mlx-lm read', () => {
  const scaled = { rope_type: 'linear', rope_theta: 500000, factor: 8 }
  const of = (config: object) =>
    describeNemotron({ ...model, config: { ...model.config, ...config } }, emptyPlan).config
  expect(of({})).toMatchObject({ rope_theta: 10000, rope_scaling: null, torch_dtype: 'bfloat16' })
  const { rope_theta: theta, ...scaling } = scaled
  expect(of({ rope_parameters: scaled })).toMatchObject({ rope_theta: theta, rope_scaling: scaling })
  expect(of({})).not.toHaveProperty('rope_parameters')
  expect(of({ rope_parameters: undefined, rope_theta: 7 })).toMatchObject({ rope_theta: 7 })
})

test('is refused for biases of outputs, fewer heads, a first layer without attention and other families', async () => {
  expect(() => describeNemotron(model, { blocks: [], units: { 'decoder.2.attention': [0] } })).toThrow(PlanError)
  const outputBiases = { 'decoder.2.mlp': encodeBias(new Float32Array(128).fill(1)) }
  expect(() => describeNemotron(model, { ...emptyPlan, outputBiases })).toThrow(/adds a bias to decoder\.2\.mlp/)
  expect(() => describeNemotron(model, { blocks: ['decoder.0.attention'], units: {} })).toThrow(PlanError)
  const qwen = await openModel('qwen2', join(root, 'test/fixtures/tiny-random/qwen2'))
  expect(() => describeNemotron(qwen, emptyPlan)).toThrow(UnsupportedModelError)
  await qwen.weights.close()
})
