import { afterEach, describe, expect, it } from 'vitest'
import { openLocalEngine } from '../../../src/engine/localEngine.ts'
import { CalibrationError, CheckpointError, UnsupportedModelError } from '../../../src/errors.ts'
import { alibiSlopes } from '../../../src/model/alibi.ts'
import { describeModel } from '../../../src/model/describe.ts'
import { findArchitecture } from '../../../src/model/families.ts'
import type { AttentionForm, MlpForm } from '../../../src/model/mathematics.ts'
import type { Model } from '../../../src/model/model.ts'
import { emptyPlan, removedParameters } from '../../../src/model/plan.ts'
import type { ModelConfig } from '../../../src/types.ts'
import * as ask from '../../asked.ts'
import { expectError } from '../../measured.ts'
import { type Fixture, openFixture } from '../openFixture.ts'

const opened: Model[] = []

afterEach(async () => {
  await Promise.all(opened.splice(0).map(({ weights }) => weights.close()))
})

async function open(path: string): Promise<Fixture> {
  const fixture = await openFixture(path)
  opened.push(fixture.model)
  return fixture
}

/** The model in a fixture as another config.json would describe it. */
async function reopened(path: string, changes: ModelConfig): Promise<Model> {
  const { model } = await open(path)
  const config = Object.fromEntries(
    Object.entries({ ...model.config, ...changes }).filter(([, value]) => value !== undefined),
  )
  return describeModel(path, path, { config, weights: model.weights, assets: model.assets })
}

it("bounds of Gemma 2 in a Gemma's config are not read, as transformers does not read them", async () => {
  const changes = { attn_logit_softcapping: 2, final_logit_softcapping: 3 }
  const [plain, changed] = [await reopened('tiny-random/gemma', {}), await reopened('tiny-random/gemma', changes)]
  const ids = Int32Array.from({ length: 12 }, (_, i) => i * 7 + 3)
  const logits = await Promise.all(
    [plain, changed].map(async (model) => {
      const engine = openLocalEngine(model, { threads: 1 })
      const values = await ask.logits(engine, { ids, rows: 1, rowLength: 12 }, emptyPlan)
      await engine.close()
      return values
    }),
  )
  expect(logits[1]).toEqual(logits[0])
})

const linear = { rope_type: 'linear', rope_theta: 10000, factor: 2 }

describe('two spellings of rotary settings side by side', () => {
  it.each<[fixture: string, both: readonly [string, string], changes: ModelConfig]>([
    [
      'tiny-random/qwen2',
      ['"rope_scaling" is {"type":"yarn","factor":4}', '"rope_parameters" {"rope_type":"default","rope_theta":10000}'],
      { rope_parameters: { rope_type: 'default', rope_theta: 10000 }, rope_scaling: { type: 'yarn', factor: 4 } },
    ],
    // transformers 5 would take a base of 10000
    [
      'tiny-random/qwen2',
      ['"rope_scaling" is {"type":"linear","factor":2}', '"rope_theta":500'],
      { rope_parameters: { ...linear, rope_theta: 500 }, rope_scaling: { type: 'linear', factor: 2 } },
    ],
    [
      'tiny-random/gemma3',
      ['"rope_scaling"', '"rope_parameters"'],
      { layer_types: undefined, sliding_window_pattern: 2, rope_scaling: { rope_type: 'linear', factor: 8 } },
    ],
    [
      'tiny-random/llama',
      ['"rope_parameters.rope_theta" is 10000', '"rope_theta" 500'],
      { rope_parameters: linear, rope_theta: 500 },
    ],
    [
      'tiny-random/gpt_neox',
      ['"rope_parameters.partial_rotary_factor" is 0.25', '"rotary_pct" 0.5'],
      { rotary_pct: 0.5 },
    ],
    [
      'tiny-random/llama',
      ['"rope_parameters.original_max_position_embeddings" is 32', '"original_max_position_embeddings" 16'],
      {
        rope_parameters: { ...linear, rope_type: 'yarn', original_max_position_embeddings: 32 },
        original_max_position_embeddings: 16,
      },
    ],
  ])('of %s that differ are refused with both values, %j', async (fixture, [one, other], changes) => {
    const opening = reopened(fixture, changes)
    await expect(opening).rejects.toThrow(UnsupportedModelError)
    await expect(opening).rejects.toThrow(one)
    await expect(opening).rejects.toThrow(other)
  })

  it('that say the same are read', async () => {
    const twice = { rope_parameters: linear, rope_theta: 10000, rope_scaling: { type: 'linear', factor: 2 } }
    expect(attentionForm(await reopened('tiny-random/qwen2', twice), 0).positions).toEqual(
      attentionForm(await reopened('tiny-random/qwen2', { rope_parameters: linear }), 0).positions,
    )
    const empty = { rope_parameters: linear, rope_scaling: {} }
    expect(attentionForm(await reopened('tiny-random/qwen2', empty), 0).positions).toEqual(
      attentionForm(await reopened('tiny-random/qwen2', { rope_parameters: linear }), 0).positions,
    )
  })

  it('of a layer type of Gemma 3 are those of its object, then those beside it', async () => {
    const base = async (layer: number, changes: ModelConfig) => {
      const { positions } = attentionForm(await reopened('tiny-random/gemma3', changes), layer)
      return positions.type === 'rotary' && (positions.rope.inverseFrequencies[1] ?? 0) ** -8
    }
    const beside = { rope_theta: 300, rope_local_base_freq: 30 }
    const alternating = { layer_types: undefined, sliding_window_pattern: 2 }
    const flat = { ...alternating, ...beside, rope_parameters: { rope_type: 'default' } }
    expect(await base(0, flat)).toBeCloseTo(30, 6)
    expect(await base(1, flat)).toBeCloseTo(300, 6)
    const own = { ...flat, rope_parameters: { sliding_attention: { rope_theta: 30 }, full_attention: {} } }
    expect(await base(0, own)).toBeCloseTo(30, 6)
    expect(await base(1, own)).toBeCloseTo(300, 6)
  })
})

describe('a config value that changes the mathematics', () => {
  it.each<[fixture: string, key: string, changes: ModelConfig]>([
    ['tiny-random/llama', 'rope_type', { rope_parameters: { rope_type: 'proportional', rope_theta: 10000 } }],
    ['tiny-random/llama', 'factor', { rope_parameters: { rope_type: 'dynamic', rope_theta: 10000 } }],
    ['tiny-random/llama', 'factor', { rope_parameters: { rope_type: 'linear', rope_theta: 10000, factor: 0 } }],
    ['tiny-random/llama', 'rope_theta', { rope_parameters: { rope_type: 'default', rope_theta: -1 } }],
    ['tiny-random/llama', 'type', { rope_parameters: undefined, rope_scaling: { type: 'ntk', factor: 2 } }],
    ['tiny-random/llama', 'hidden_act', { hidden_act: 'mish' }],
    ['tiny-random/phi3', 'short_factor', { rope_parameters: { rope_type: 'longrope', rope_theta: 10000 } }],
    [
      'tiny-random/phi3',
      'long_factor',
      { rope_parameters: { type: 'su', short_factor: Array(8).fill(1), long_factor: [2] } },
    ],
    ['tiny-random/llama', 'partial_rotary_factor', { rope_parameters: { ...linear, partial_rotary_factor: 0.5 } }],
    ['tiny-random/gpt_neox', 'head_dim', { head_dim: 8 }],
    ['tiny-random/gemma', 'use_bidirectional_attention', { use_bidirectional_attention: true }],
    ['tiny-random/gemma2', 'layer_types', { layer_types: ['full_attention', 'chunked_attention'] }],
    ['tiny-random/gemma3', 'layer_types', { layer_types: ['full_attention'] }],
    ['tiny-random/gpt2', 'add_cross_attention', { add_cross_attention: true }],
    ['tiny-random/gpt2', 'activation_function', { activation_function: 'gelu_10' }],
    ['tiny-random/gpt2', 'n_embd / n_head', { n_head: 3 }],
    ['tiny-random/opt', 'layer_norm_elementwise_affine', { layer_norm_elementwise_affine: false }],
    ['tiny-random/opt', 'word_embed_proj_dim', { word_embed_proj_dim: 0 }],
    ['tiny-random/bloom', 'apply_residual', { apply_residual_connection_post_layernorm: true }],
    ['tiny-random/bloom', 'slow_but_exact', { slow_but_exact: true, pretraining_tp: 2 }],
    ['tiny-random/falcon', 'num_ln_in_parallel_attn', { num_ln_in_parallel_attn: 2 }],
    ['tiny-variants/falcon-grouped', 'num_ln_in_parallel_attn', { num_ln_in_parallel_attn: 3 }],
    ['tiny-variants/falcon-grouped', 'parallel_attn', { parallel_attn: false }],
    ['tiny-variants/falcon-grouped', 'num_kv_heads', { num_kv_heads: 3 }],
    ['tiny-variants/baichuan-13b', 'model_max_length', { model_max_length: undefined }],
    [
      'tiny-random/phi',
      'partial_rotary_factor',
      { rope_parameters: { rope_theta: 1e4, partial_rotary_factor: 0.3125 } },
    ],
  ])('of %s is refused by its name, %s', async (fixture, key, changes) => {
    const opening = reopened(fixture, changes)
    await expect(opening).rejects.toThrow(UnsupportedModelError)
    await expect(opening).rejects.toThrow(key)
  })

  it('of an unknown family names the known ones', () => {
    expect(() => findArchitecture({ model_type: 'mamba' })).toThrow(
      /"mamba", expected one of .*baichuan.*qwen3.*roberta$/,
    )
  })

  it('with a known language model inside says how to save that by itself', () => {
    const gemma = { model_type: 'gemma3', text_config: { model_type: 'gemma3_text' }, vision_config: {} }
    expect(() => findArchitecture(gemma)).toThrow(/its language model, a gemma3_text, save that by itself.*python -c/)
    expect(() => findArchitecture({ ...gemma, text_config: { model_type: 'mamba' } })).not.toThrow(/python/)
  })
})

describe('a checkpoint of other names', () => {
  const renamed = async (path: string, rename: (name: string) => string) => {
    const { model } = await open(path)
    const tensors = new Map(
      [...model.weights.tensors].map(([name, info]) => [rename(name), { ...info, name: rename(name) }]),
    )
    const { config, assets } = model
    return describeModel(path, path, { config, assets, weights: { ...model.weights, tensors } })
  }

  it('than the family has is refused with the name it goes by', async () => {
    await expect(renamed('tiny-random/llama', (name) => `language_model.${name}`)).rejects.toThrow(
      'tensor "model.embed_tokens.weight" is missing, expected [512,64]; the checkpoint calls it "language_model.model.embed_tokens.weight"',
    )
    await expect(renamed('tiny-random/llama', (name) => name.replace('o_proj', 'out'))).rejects.toThrow(
      /self_attn\.o_proj\.weight" is missing, expected .*; is config\.json from another model\?$/,
    )
  })

  it('than those of an untied head is told how to say that it is tied', async () => {
    await expect(renamed('tiny-random/llama', (name) => name.replace('lm_head', 'other'))).rejects.toThrow(
      /tensor "lm_head\.weight" is missing, expected \[512,64\]; set "tie_word_embeddings" to true in config\.json if/,
    )
  })

  it.each(['score', 'classifier', 'qa_outputs'])(
    'with a %s instead of a head is refused: a tied head hides it',
    async (head) => {
      const opening = renamed('tiny-random/gpt2', (name) => name.replace('transformer.ln_f.bias', `${head}.weight`))
      await expect(opening).rejects.toThrow(`tensor "${head}.weight": a decoder with a classifier is not supported`)
    },
  )

  it('without the prefix of the whole model opens: GPT-NeoX', async () => {
    const model = await renamed('tiny-random/gpt_neox', (name) => name.replace(/^gpt_neox\./, ''))
    expect(model.outer['embedTokens']?.[0]).toBe('embed_in.weight')
  })
})

describe('positions', () => {
  it('are the same in both spellings of rotary settings', async () => {
    const scaled = { rope_type: 'linear', factor: 2 }
    const old = { rope_parameters: undefined, rope_theta: 500, rope_scaling: scaled }
    const both = await Promise.all([
      reopened('tiny-random/qwen2', { rope_parameters: { ...scaled, rope_theta: 500 } }),
      reopened('tiny-random/qwen2', old),
      reopened('tiny-random/qwen2', { ...old, rope_scaling: { type: 'linear', factor: 2 } }),
    ])
    const [one, ...others] = both.map((model) => attentionForm(model, 0).positions)
    expect(others).toEqual([one, one])
    expect(one).toMatchObject({ rope: { inverseFrequencies: expect.arrayContaining([0.5]) } })
  })

  it('of GPT-NeoX, Phi and Gemma 3 are read in their older words and by their defaults', async () => {
    const neox = { rope_parameters: undefined, rotary_pct: 0.25, rotary_emb_base: 10000 }
    expect(attentionForm(await reopened('tiny-random/gpt_neox', neox), 0)).toEqual(
      attentionForm(await reopened('tiny-random/gpt_neox', {}), 0),
    )
    expect(attentionForm(await reopened('tiny-random/gpt_neox', { rope_parameters: undefined }), 0)).toEqual(
      attentionForm(await reopened('tiny-random/gpt_neox', {}), 0),
    )
    expect(attentionForm(await reopened('tiny-random/phi', { rope_parameters: undefined }), 0)).toEqual(
      attentionForm(await reopened('tiny-random/phi', {}), 0),
    )
    const gemma = { layer_types: undefined, sliding_window_pattern: 2 }
    const old = { ...gemma, rope_parameters: undefined, rope_theta: 1e6, rope_local_base_freq: 1e4 }
    for (const layer of [0, 1]) {
      expect(attentionForm(await reopened('tiny-random/gemma3', { ...gemma, ...old }), layer)).toEqual(
        attentionForm(await reopened('tiny-random/gemma3', gemma), layer),
      )
    }
    expect(attentionForm(await reopened('tiny-random/gemma3', gemma), 0).window).toBe(64)
    expect(attentionForm(await reopened('tiny-random/gemma3', gemma), 1).window).toBeUndefined()
  })

  it('of ALiBi follow the paper for a power of two and interleave for the rest', () => {
    expect(alibiSlopes(8)).toEqual([1, 2, 3, 4, 5, 6, 7, 8].map((power) => 2 ** -power))
    expect(alibiSlopes(3)).toEqual([2 ** -4, 2 ** -8, 2 ** -2])
    expect(alibiSlopes(1)).toEqual([2 ** -8])
  })

  it('that were learned are not there for longer rows, which is said', async () => {
    const { model } = await open('tiny-variants/opt-no-biases')
    const engine = openLocalEngine(model, { threads: 1 })
    const rows = (rowLength: number) => ({ ids: new Int32Array(rowLength), rows: 1, rowLength })
    await expect(ask.tokenLosses(engine, rows(24), [emptyPlan])).resolves.toHaveLength(1)
    await expect(ask.tokenLosses(engine, rows(25), [emptyPlan])).rejects.toThrow(CalibrationError)
    await engine.close()
  })
})

describe('Falcon', () => {
  it('keeps the norm that both branches of a layer read while either lives', async () => {
    const { model } = await open('tiny-random/falcon')
    const [attention, mlp] = model.blocks
    expect(attention!.weights['norm']).toEqual(mlp!.weights['norm'])
    // what goes when one branch goes: its matrices, D = 64, 4 query heads and a key/value head of 16, F = 256
    expect(attention!.parameters).toBe((64 + 16 + 16) * 64 + 64 * 64)
    expect(mlp!.parameters).toBe(2 * 64 * 256)
    const layer = { blocks: [attention!.id, mlp!.id], units: {} }
    expect(removedParameters(model, layer)).toBe(attention!.parameters + mlp!.parameters + 2 * 64)
  })
})

describe('Baichuan', () => {
  it('brings the rows of its head to length 1 in the second generation', async () => {
    const { model, rows, expected } = await open('tiny-variants/baichuan-7b')
    const head = (vocabulary: number) =>
      model.architecture.head({ ...model.config, vocab_size: vocabulary }, model.outer)!
    expect(head(64000).unitRows).toBeUndefined()
    expect(head(125696).unitRows).toBe(true)
    const architecture = { ...model.architecture, head: () => head(125696) }
    const engine = openLocalEngine({ ...model, architecture }, { threads: 1 })
    const last = (await ask.logits(engine, rows, emptyPlan)).subarray(23 * 101, 24 * 101)
    await engine.close()
    const wanted = expected.unit_rows_logits_last!
    expect(wanted).toHaveLength(101)
    expectError(Math.max(...last.map((logit, i) => Math.abs(logit - wanted[i]!))), 1.8e-6)
  })
})

describe('Baichuan 13B', () => {
  it('is not taken for a 7B by a config that says both', async () => {
    const { model } = await open('tiny-variants/baichuan-7b')
    const form = (config: ModelConfig) => model.architecture.stacks.decoder!.blocks[0]!.form(config, 0)
    const wide = { ...model.config, hidden_size: 5120, num_attention_heads: 40 }
    expect(() => form(wide)).toThrow(/"max_position_embeddings" as in Baichuan 7B/)
    expect(form({ ...wide, max_position_embeddings: null })).toMatchObject({ positions: { type: 'alibi' } })
  })
})

describe('a checkpoint', () => {
  it('of another shape fails with the name and the sizes', async () => {
    await expect(reopened('tiny-random/gpt2', { n_inner: 128 })).rejects.toThrow(CheckpointError)
    await expect(reopened('tiny-random/gpt2', { n_inner: 128 })).rejects.toThrow(/c_fc.*\[64, 256\].*\[64, 128\]/)
  })

  it('is found without the prefix of the whole model', async () => {
    const { model } = await open('tiny-variants/bloom-six-heads')
    expect(model.blocks[0]!.weights['norm']![0]).toBe('h.0.input_layernorm.weight')
  })
})

describe('windows', () => {
  it('of Mistral are 4096 tokens where the config does not say, and none where it says null', async () => {
    expect(attentionForm(await reopened('tiny-random/mistral', { sliding_window: undefined }), 0).window).toBe(4096)
    expect(attentionForm(await reopened('tiny-random/mistral', { sliding_window: null }), 0).window).toBeUndefined()
  })

  it('of Qwen begin at max_window_layers, unless layer_types says otherwise', async () => {
    const on = { use_sliding_window: true, sliding_window: 8, layer_types: undefined, max_window_layers: 3 }
    const windows = async (changes: ModelConfig) => {
      const model = await reopened('tiny-random/qwen2', { ...on, ...changes })
      return [0, 1, 2, 3].map((layer) => attentionForm(model, layer).window)
    }
    expect(await windows({})).toEqual([undefined, undefined, undefined, 8])
    expect(await windows({ use_sliding_window: false })).toEqual([undefined, undefined, undefined, undefined])
    const types = ['sliding_attention', 'full_attention', 'full_attention', 'full_attention']
    expect(await windows({ layer_types: types })).toEqual([8, undefined, undefined, undefined])
  })
})

describe('activations', () => {
  it('of early Gemma configs named gelu are its tanh form', async () => {
    const early = await reopened('tiny-random/gemma', { hidden_act: 'gelu', hidden_activation: null })
    expect(mlpForm(early).activation).toBe('geluTanh')
  })
})

function attentionForm({ architecture, config }: Model, layer: number): AttentionForm {
  const table = architecture.stacks.decoder!.blocks.find(({ kind }) => kind === 'attention')!
  return table.form(config, layer) as AttentionForm
}

function mlpForm({ architecture, config }: Model): MlpForm {
  return architecture.stacks.decoder!.blocks.find(({ kind }) => kind === 'mlp')!.form(config, 0) as MlpForm
}
