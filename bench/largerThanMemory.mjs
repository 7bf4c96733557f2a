// Peak memory and time of a search whose model is larger than the memory it may use, against one that may use all it wants.
//   node bench/largerThanMemory.mjs [--model M] [--max-memory 128MiB] [--rows 4] [--row-length 256]      (after npm run build)
//   node bench/largerThanMemory.mjs --random 1.1B [--max-memory 1200MB]    a random Llama in BF16, and the same as Q4_0 in GGUF
//   node bench/largerThanMemory.mjs --random 8B --one-pass                 of Llama 3.1's shape, one pass: needs 16 GB of disk
// The peak is the operating system's (/usr/bin/time -v, or the process' own report), of a process of its own for each run.
import { spawnSync } from 'node:child_process'
import { existsSync, mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs'
import { copyFile, mkdir, open, writeFile } from 'node:fs/promises'
import { cpus, tmpdir } from 'node:os'
import { dirname, join, resolve } from 'node:path'
import { parseArgs } from 'node:util'

const { values: options } = parseArgs({
  options: {
    model: { type: 'string' },
    random: { type: 'string' },
    folder: { type: 'string' },
    'max-memory': { type: 'string', default: '128MiB' },
    rows: { type: 'string', default: '4' },
    'row-length': { type: 'string', default: '256' },
    fast: { type: 'boolean', default: false },
    'one-pass': { type: 'boolean', default: false },
  },
})
const root = resolve(import.meta.dirname, '..')
const program = join(root, 'dist/cli/main.js')
const folder = options.folder ?? mkdtempSync(join(tmpdir(), 'larger-'))
await mkdir(folder, { recursive: true })

const shapes = {
  '1.1B': { hidden: 2048, layers: 22, heads: 32, keyHeads: 4, intermediate: 5632, vocabulary: 32000 },
  '8B': { hidden: 4096, layers: 32, heads: 32, keyHeads: 8, intermediate: 14336, vocabulary: 128256 },
}

console.log(`${cpus()[0].model}, ${cpus().length} cores, node ${process.version}`)
if (options.random === undefined) {
  compare(options.model ?? 'embedded', options['max-memory'])
} else {
  const shape = shapes[options.random]
  if (shape === undefined)
    throw new Error(`--random ${options.random}: expected one of ${Object.keys(shapes).join(', ')}`)
  const model = join(folder, `llama-${options.random}`)
  if (!existsSync(join(model, 'config.json'))) await writeRandomLlama(model, shape)
  const tokens = await writeTokens(shape.vocabulary)
  const size = ['--nsamples', options.rows, '--seqlen', options['row-length']]
  if (options['one-pass']) {
    run(model, options['max-memory'], ['--method', 'magnitude', '--remove', '1', '--tokens', tokens, ...size])
  } else {
    const gguf = join(folder, 'q4_0.gguf')
    if (!existsSync(gguf)) {
      spawnSync(
        process.execPath,
        [
          program,
          'apply',
          '--model',
          model,
          '--plan',
          await densePlan(),
          '--format',
          'gguf',
          '--quantize',
          'Q4_0',
        ].concat(['--output', gguf, '--no-verify', '--max-memory', options['max-memory']]),
        { stdio: 'inherit' },
      )
    }
    for (const path of [model, gguf].filter(existsSync)) {
      run(path, options['max-memory'], ['--search', 'exact', '--remove', '1', '--tokens', tokens, ...size])
      if (options.fast)
        run(path, options['max-memory'], ['--search', 'fast', '--remove', '6', '--tokens', tokens, ...size])
    }
  }
}
if (options.folder === undefined) rmSync(folder, { recursive: true })

/** The same step with bounded memory and without: the same plan, peak and time of each. */
function compare(model, maxMemory) {
  const more = ['--search', 'exact', '--remove', '1', '--nsamples', options.rows, '--seqlen', options['row-length']]
  const [bounded, free] = [run(model, maxMemory, more), run(model, undefined, more)]
  console.log(`the same plan: ${bounded.plan === free.plan}`)
  console.log(`time with bounded memory / without: ${(bounded.seconds / free.seconds).toFixed(2)}`)
}

function run(model, maxMemory, more) {
  const output = mkdtempSync(join(tmpdir(), 'larger-run-'))
  const bound = maxMemory === undefined ? [] : ['--max-memory', maxMemory]
  const args = [program, 'prune', '--model', model, '--no-export', '--quiet', '--output', output, ...bound, ...more]
  const began = performance.now()
  const { status, stderr } = spawnSync('/usr/bin/time', ['-v', process.execPath, ...args], { encoding: 'utf8' })
  const seconds = (performance.now() - began) / 1000
  if (status !== 0) throw new Error(stderr)
  const peak = Number(/Maximum resident set size \(kbytes\): (\d+)/.exec(stderr)?.[1]) / 1024
  const read = Number(/File system inputs: (\d+)/.exec(stderr)?.[1]) / 2048
  const { versions: _, ...plan } = JSON.parse(readFileSync(join(output, 'plan.json'), 'utf8'))
  rmSync(output, { recursive: true })
  const size = statSync(existsSync(join(model, 'model.safetensors')) ? join(model, 'model.safetensors') : model, {
    throwIfNoEntry: false,
  })?.size
  const what = `${more.slice(0, 4).join(' ')}, ${maxMemory ?? 'all the memory there is'}`
  const stored = size === undefined ? '' : ` of ${(size / 2 ** 20).toFixed(0)} MiB stored`
  console.log(
    `${model.split('/').at(-1)}${stored}, ${what}: peak ${peak.toFixed(0)} MiB, ${seconds.toFixed(1)} s, ${read.toFixed(0)} MiB from disk`,
  )
  return { seconds, plan: JSON.stringify(plan) }
}

/** A plan written by hand that removes nothing. */
async function densePlan() {
  const path = join(folder, 'dense.json')
  await writeFile(path, '{"blocks": []}')
  return path
}

async function writeTokens(vocabulary) {
  const path = join(folder, 'tokens.json')
  const [rows, length] = [Number(options.rows), Number(options['row-length'])]
  const ids = Array.from({ length: rows * length }, (_, i) => (7919 * i + 13 * i * i) % vocabulary)
  await writeFile(path, JSON.stringify({ ids }))
  return path
}

/** A Llama of random bfloat16 weights: config.json, model.safetensors, and the embedded model's tokenizer. */
async function writeRandomLlama(path, { hidden, layers, heads, keyHeads, intermediate, vocabulary }) {
  await mkdir(path, { recursive: true })
  const kv = (hidden / heads) * keyHeads
  const tensors = [['model.embed_tokens.weight', [vocabulary, hidden]]]
  for (let i = 0; i < layers; i++) {
    const layer = `model.layers.${i}`
    tensors.push(
      [`${layer}.input_layernorm.weight`, [hidden]],
      [`${layer}.self_attn.q_proj.weight`, [hidden, hidden]],
      [`${layer}.self_attn.k_proj.weight`, [kv, hidden]],
      [`${layer}.self_attn.v_proj.weight`, [kv, hidden]],
      [`${layer}.self_attn.o_proj.weight`, [hidden, hidden]],
      [`${layer}.post_attention_layernorm.weight`, [hidden]],
      [`${layer}.mlp.gate_proj.weight`, [intermediate, hidden]],
      [`${layer}.mlp.up_proj.weight`, [intermediate, hidden]],
      [`${layer}.mlp.down_proj.weight`, [hidden, intermediate]],
    )
  }
  tensors.push(['model.norm.weight', [hidden]], ['lm_head.weight', [vocabulary, hidden]])
  let end = 0
  const header = {}
  for (const [name, shape] of tensors) {
    const bytes = shape.reduce((product, size) => product * size, 2)
    header[name] = { dtype: 'BF16', shape, data_offsets: [end, end + bytes] }
    end += bytes
  }
  const text = Buffer.from(JSON.stringify(header))
  const length = Buffer.alloc(8)
  length.writeBigUInt64LE(BigInt(text.length))
  const file = await open(join(path, 'model.safetensors'), 'w')
  await file.write(Buffer.concat([length, text]))
  // one million random numbers of deviation 0.02, over and over from another place
  const noise = bfloat16(Float32Array.from({ length: 2 ** 20 }, () => 0.02 * normal()))
  const ones = bfloat16(new Float32Array(hidden).fill(1))
  let seed = 0
  for (const [, shape] of tensors) {
    let left = shape.reduce((product, size) => product * size, 1)
    while (left > 0) {
      seed = (seed * 69069 + 12345) % 2 ** 19
      const from = shape.length === 1 ? 0 : seed
      const part = (shape.length === 1 ? ones : noise).subarray(from, from + left)
      await file.write(new Uint8Array(part.buffer, part.byteOffset, part.byteLength))
      left -= part.length
    }
  }
  await file.close()
  const config = {
    ...{ model_type: 'llama', architectures: ['LlamaForCausalLM'], hidden_act: 'silu', rms_norm_eps: 1e-5 },
    ...{ hidden_size: hidden, num_hidden_layers: layers, num_attention_heads: heads, num_key_value_heads: keyHeads },
    ...{ intermediate_size: intermediate, vocab_size: vocabulary, max_position_embeddings: 2048, rope_theta: 10000 },
    ...{ tie_word_embeddings: false, torch_dtype: 'bfloat16' },
  }
  await writeFile(join(path, 'config.json'), JSON.stringify(config))
  const embedded = join(dirname(program), '../../models/brown-llama')
  for (const name of ['tokenizer.json', 'tokenizer_config.json']) await copyFile(join(embedded, name), join(path, name))
}

function bfloat16(values) {
  const bits = new Uint32Array(values.buffer)
  return Uint16Array.from(bits, (b) => (b + 0x7fff + ((b >>> 16) & 1)) >>> 16)
}

/** A number of the normal distribution (Box and Muller). */
function normal() {
  return Math.sqrt(-2 * Math.log(1 - Math.random())) * Math.cos(2 * Math.PI * Math.random())
}
