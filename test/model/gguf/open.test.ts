import { createHash } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { fileURLToPath } from 'node:url'
import { describe, expect, it, onTestFinished } from 'vitest'
import { CheckpointError, UnsupportedModelError } from '../../../src/errors.ts'
import { type GgufModel, openGguf } from '../../../src/model/gguf/open.ts'
import { bfloat16ToFloat32, float16ToFloat32 } from '../../../src/tensor/half.ts'
import { RawGguf } from '../../format/gguf/rawGguf.ts'

const fixture = (name: string) => fileURLToPath(new URL(`../../fixtures/gguf/${name}`, import.meta.url))

interface Expected {
  readonly config: Readonly<Record<string, unknown>>
  readonly tensors: Readonly<Record<string, { readonly shape: readonly number[]; readonly sha256: string }>>
}

const expected = JSON.parse(await readFile(fixture('models.expected.json'), 'utf8')) as Readonly<
  Record<string, Expected>
>
const names = ['llama', 'llamaBiased', 'qwen2', 'qwen3', 'gemma3', 'gpt2'] as const

async function opened(path: string): Promise<GgufModel> {
  const model = await openGguf(path)
  onTestFinished(() => model.weights.close())
  return model
}

const sha256 = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest('hex')

describe.each(names)('the converted %s', (name) => {
  it('has the tensors of the Hugging Face model: names, shapes and every bit', async () => {
    const { weights } = await opened(fixture(`${name}.gguf`))
    const wanted = expected[name]?.tensors ?? {}
    expect([...weights.tensors.keys()].sort()).toEqual(Object.keys(wanted).sort())
    for (const [tensor, { shape, sha256: hash }] of Object.entries(wanted)) {
      expect(weights.tensors.get(tensor)?.shape, tensor).toEqual(shape)
      expect(sha256(new Uint8Array((await weights.read(tensor)).buffer)), tensor).toBe(hash)
    }
  })

  it('gives stored bytes that widen to the same values, and none for quantized tensors', async () => {
    const { weights } = await opened(fixture(`${name}.gguf`))
    let quantized = 0
    for (const [tensor, { type }] of weights.tensors) {
      if (type === 'Q8_0') {
        quantized++
        await expect(weights.readBytes(tensor)).rejects.toThrow(/is stored as Q8_0, expected F32, F16 or BF16/)
        continue
      }
      const bytes = await weights.readBytes(tensor)
      const widened = type === 'F32' ? new Float32Array(bytes.buffer) : float16ToFloat32(new Uint16Array(bytes.buffer))
      expect(widened, tensor).toEqual(await weights.read(tensor))
    }
    expect(quantized).toBeGreaterThan(0)
  })

  it('has the settings of config.json', async () => {
    const { config } = await opened(fixture(`${name}.gguf`))
    expect(config).toMatchObject(expected[name]?.config ?? {})
  })
})

it('hands an exporter the file under its own names', async () => {
  const { file, origins } = await opened(fixture('llama.gguf'))
  const origin = origins.get('model.layers.0.self_attn.q_proj.weight')
  expect(origin).toMatchObject({ tensor: { name: 'blk.0.attn_q.weight', type: 'Q8_0' }, form: 'headPairs' })
  expect((await file.readTensorBytes('blk.0.attn_q.weight')).length).toBe(32 * 34)
  expect(file.metadata.get('general.name')?.value).toEqual({ type: 'string', value: 'llama' })
  expect(file.tensors.has('rope_freqs.weight')).toBe(true)
})

it('writes generation_config.json, and no tokenizer where the file has none', async () => {
  const { assets } = await opened(fixture('llama.gguf'))
  expect([...assets.keys()]).toEqual(['generation_config.json'])
  expect(JSON.parse(new TextDecoder().decode(await assets.get('generation_config.json')?.()))).toEqual({
    bos_token_id: 1,
    eos_token_id: 2,
  })
})

/** A llama of one layer, two heads of four channels and three tokens, as far as `change` leaves it one. */
function smallLlama(change: {
  without?: string
  key?: (file: RawGguf) => RawGguf
  tensor?: [string, number[]]
  type?: number
}) {
  const settings: [string, number][] = [
    ['block_count', 1],
    ['context_length', 16],
    ['embedding_length', 8],
    ['feed_forward_length', 4],
    ['attention.head_count', 2],
    ['attention.head_count_kv', 1],
  ]
  const kept = settings.filter(([key]) => key !== change.without)
  const tensors: [string, number[]][] = [
    ['token_embd.weight', [8, 3]],
    ['output_norm.weight', [8]],
    ['blk.0.attn_norm.weight', [8]],
    ['blk.0.attn_q.weight', [8, 8]],
    ['blk.0.attn_k.weight', [8, 4]],
    ['blk.0.attn_v.weight', [8, 4]],
    ['blk.0.attn_output.weight', [8, 8]],
    ['blk.0.ffn_norm.weight', [8]],
    ['blk.0.ffn_gate.weight', [8, 4]],
    ['blk.0.ffn_up.weight', [8, 4]],
    ['blk.0.ffn_down.weight', [4, 8]],
    ...(change.tensor ? [change.tensor] : []),
  ]
  const file = new RawGguf().start(tensors.length, kept.length + 2 + (change.key ? 1 : 0))
  file.key('general.architecture', 'string').string('llama')
  file.key('llama.attention.layer_norm_rms_epsilon', 'float32').raw(0xac, 0xc5, 0x27, 0x37) // 1e-5
  change.key?.(file)
  for (const [key, value] of kept) file.key(`llama.${key}`, 'uint32').uint32(value)
  const bytes = change.type === 30 ? 2 : 4
  let offset = 0
  for (const [name, dimensions] of tensors) {
    file.tensor(name, dimensions, change.type ?? 0, offset)
    offset += Math.ceil((dimensions.reduce((a, b) => a * b, 1) * bytes) / 32) * 32
  }
  return file.data(offset)
}

it('reads float32 settings as the decimals they were written from', async () => {
  const { config } = await opened(await smallLlama({}).write())
  expect(config['rms_norm_eps']).toBe(1e-5)
  expect(config['tie_word_embeddings']).toBe(true)
  expect(config['rope_theta']).toBe(10000)
})

it('reads BF16 tensors, their rows back in order', async () => {
  const file = smallLlama({ type: 30 }).bytes
  const path = await new RawGguf().raw(...file).write()
  const { file: gguf } = await opened(path)
  const { position } = gguf.tensors.get('blk.0.attn_q.weight') ?? { position: 0 }
  for (let row = 0; row < 8; row++) file[position + row * 16 + 1] = 0x40 + row // first value of each row: 2, 8, 32, …
  const { weights } = await opened(await new RawGguf().raw(...file).write())
  const name = 'model.layers.0.self_attn.q_proj.weight'
  const values = await weights.read(name)
  const storedRows = [0, 2, 1, 3, 4, 6, 5, 7]
  expect(storedRows.map((_, row) => values[row * 8])).toEqual(storedRows.map((row) => 2 ** (2 * row + 1)))
  expect(bfloat16ToFloat32(new Uint16Array((await weights.readBytes(name)).buffer))).toEqual(values)
})

it.each<
  [
    what: string,
    change: Parameters<typeof smallLlama>[0],
    kind: typeof CheckpointError | typeof UnsupportedModelError,
    message: RegExp,
  ]
>([
  [
    'a missing setting',
    { without: 'context_length' },
    CheckpointError,
    /metadata "llama\.context_length" is missing, expected a whole number/,
  ],
  [
    'a setting of another type',
    { without: 'context_length', key: (file) => file.key('llama.context_length', 'string').string('many') },
    CheckpointError,
    /metadata "llama\.context_length" is string many, expected a whole number/,
  ],
  [
    'fewer layers than it says',
    { without: 'block_count', key: (file) => file.key('llama.block_count', 'uint32').uint32(0xffffffff) },
    CheckpointError,
    /has tensors of 1 layers, expected layers 0 to 4294967294/,
  ],
  [
    'a layer with an enormous number',
    {
      without: 'block_count',
      key: (file) => file.key('llama.block_count', 'uint32').uint32(0xffffffff),
      tensor: ['blk.4294967294.attn_norm.weight', [8]],
    },
    CheckpointError,
    /has tensors of 2 layers, expected layers 0 to 4294967294/,
  ],
  [
    'heads that do not divide',
    { without: 'attention.head_count', key: (file) => file.key('llama.attention.head_count', 'uint32').uint32(3) },
    CheckpointError,
    /has 3 query heads/,
  ],
  [
    'a tensor of a mixture of experts',
    { tensor: ['blk.0.ffn_gate_inp.weight', [8, 2]] },
    UnsupportedModelError,
    /has a tensor "blk\.0\.ffn_gate_inp\.weight", expected only those of a dense "llama"/,
  ],
  [
    'biases on some projections',
    { tensor: ['blk.0.attn_q.bias', [8]] },
    UnsupportedModelError,
    /has biases on 1 q, 0 k, 0 v, 0 o and no mlps, expected Llama's/,
  ],
  [
    'rope factors that are none',
    { tensor: ['rope_freqs.weight', [2]] },
    UnsupportedModelError,
    /"rope_freqs\.weight" holds 2 factors from 0 to 0, expected 2 of Llama 3/,
  ],
  [
    'a scaling we cannot say',
    { key: (file) => file.key('llama.rope.scaling.type', 'string').string('longrope') },
    UnsupportedModelError,
    /"llama\.rope\.scaling\.type" is "longrope", expected "none", "linear" or "yarn"/,
  ],
  [
    'heads of which a part rotates',
    { key: (file) => file.key('llama.rope.dimension_count', 'uint32').uint32(2) },
    UnsupportedModelError,
    /rotates 2 of 4 channels/,
  ],
  [
    'a part of a split model',
    { key: (file) => file.key('split.count', 'uint16').raw(3, 0) },
    UnsupportedModelError,
    /is one of 3 parts, expected a whole model; join them/,
  ],
  [
    'an adapter',
    { key: (file) => file.key('general.type', 'string').string('adapter') },
    UnsupportedModelError,
    /of type "adapter", expected "model"/,
  ],
  [
    'more tokens than embeddings',
    {
      key: (file) =>
        file.key('tokenizer.ggml.tokens', 'array').uint32(8).uint64(4).string('a').string('b').string('c').string('d'),
    },
    CheckpointError,
    /has 4 tokens, expected at most the 3 rows/,
  ],
])('refuses %s', async (_, change, kind, message) => {
  const error = await openGguf(await smallLlama(change).write()).catch((reason: unknown) => reason)
  expect(error).toBeInstanceOf(kind)
  expect((error as Error).message).toMatch(message)
})

it('names the architectures it knows when it meets another', async () => {
  const path = await new RawGguf().start(0, 1).key('general.architecture', 'string').string('mamba').write()
  await expect(openGguf(path)).rejects.toThrow(
    /has GGUF architecture "mamba", expected one of llama, qwen2, qwen3, gemma3, gpt2/,
  )
})

it('names the tensor asked for when there is none', async () => {
  const { weights } = await opened(fixture('llama.gguf'))
  await expect(weights.read('model.layers.9.mlp.up_proj.weight')).rejects.toThrow(
    /has no tensor for "model\.layers\.9\.mlp\.up_proj\.weight"/,
  )
})
