// Peak memory of each export of a random Llama, 2 GB of bfloat16 unless told otherwise; each in a process of its own.
//   node bench/exportMemory.mjs [--gigabytes 2] [--formats huggingface,gguf,gguf:Q8_0,onnx:fp32 …]        (after npm run build)
import { spawnSync } from 'node:child_process'
import { randomFillSync } from 'node:crypto'
import {
  closeSync,
  copyFileSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
  writeSync,
} from 'node:fs'
import { cpus, tmpdir } from 'node:os'
import { join } from 'node:path'
import { resourceUsage } from 'node:process'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { exportGguf, exportHuggingFace, exportNemotron, exportOnnx, loadModel } from 'blockpruner'

const everything = 'huggingface,nemotron,gguf,gguf:Q8_0,gguf:Q4_0,onnx:fp32,onnx:fp16,onnx:q8,onnx:q4'
const { values } = parseArgs({
  options: {
    gigabytes: { type: 'string', default: '2' },
    formats: { type: 'string', default: everything },
    // of the child process
    model: { type: 'string' },
    output: { type: 'string' },
  },
})

if (values.model === undefined) await measureAll()
else await exportOne(values.model, values.formats, values.output)

async function measureAll() {
  const folder = mkdtempSync(join(tmpdir(), 'export-memory-'))
  try {
    const model = join(folder, 'dense')
    const bytes = writeRandomLlama(model, Number(values.gigabytes) * 1e9)
    console.log(`${cpus()[0].model}, node ${process.version}; random Llama, ${(bytes / 1e9).toFixed(2)} GB of bfloat16`)
    for (const format of values.formats.split(',')) {
      const output = join(folder, 'export')
      const own = [fileURLToPath(import.meta.url), '--formats', format, '--model', model, '--output', output]
      const { stdout, stderr, status } = spawnSync(process.execPath, own, { encoding: 'utf8' })
      if (status !== 0) throw new Error(`${format}: ${stderr}`)
      console.log(stdout.trim())
      rmSync(output, { recursive: true })
    }
  } finally {
    rmSync(folder, { recursive: true })
  }
}

async function exportOne(path, asked, output) {
  const [format, type] = asked.split(':')
  const model = await loadModel(path)
  const plan = { blocks: ['decoder.1.attention', 'decoder.2.mlp'], units: {} }
  const begin = performance.now()
  if (format === 'huggingface') await exportHuggingFace(model, plan, output)
  if (format === 'nemotron') await exportNemotron(model, plan, output)
  if (format === 'gguf') await exportGguf(model, plan, output, { type, replace: true })
  if (format === 'onnx') await exportOnnx(model, plan, output, { dtypes: [type ?? 'fp32'] })
  const seconds = (performance.now() - begin) / 1000
  statSync(output)
  console.log(
    `${asked.padEnd(12)} peak ${(resourceUsage().maxRSS / 1024).toFixed(0).padStart(5)} MiB  ${seconds.toFixed(1).padStart(6)} s`,
  )
  process.exit()
}

/** A checkpoint in the shape of Llama with the embedded model's tokenizer; returns the bytes of its weights. */
function writeRandomLlama(folder, wantedBytes) {
  const embedded = fileURLToPath(new URL('../models/brown-llama/', import.meta.url))
  const config = JSON.parse(readFileSync(join(embedded, 'config.json'), 'utf8'))
  const [D, F, E, heads, V] = [2048, 8192, 64, 32, config.vocab_size]
  const layerBytes = 2 * (3 * D * F + 4 * D * heads * E + 2 * D)
  const layers = Math.max(3, Math.round((wantedBytes - 4 * V * D) / layerBytes))
  const shapes = { 'model.embed_tokens.weight': [V, D], 'model.norm.weight': [D], 'lm_head.weight': [V, D] }
  for (let layer = 0; layer < layers; layer++) {
    const name = `model.layers.${layer}`
    shapes[`${name}.input_layernorm.weight`] = [D]
    for (const part of ['q', 'k', 'v', 'o']) shapes[`${name}.self_attn.${part}_proj.weight`] = [D, D]
    shapes[`${name}.post_attention_layernorm.weight`] = [D]
    for (const part of ['gate', 'up']) shapes[`${name}.mlp.${part}_proj.weight`] = [F, D]
    shapes[`${name}.mlp.down_proj.weight`] = [D, F]
  }
  let offset = 0
  const header = Object.entries(shapes).map(([name, shape]) => {
    const bytes = shape.reduce((product, size) => product * size, 2)
    offset += bytes
    return [name, { dtype: 'BF16', shape, data_offsets: [offset - bytes, offset] }]
  })
  rmSync(folder, { recursive: true, force: true })
  mkdirSync(folder)
  const file = openSync(join(folder, 'model.safetensors'), 'w')
  const text = Buffer.from(JSON.stringify(Object.fromEntries(header)))
  const length = Buffer.alloc(8)
  length.writeBigUInt64LE(BigInt(text.length))
  writeSync(file, length)
  writeSync(file, text)
  const piece = Buffer.alloc(2 ** 26)
  randomFillSync(piece)
  // the second byte of a bfloat16 holds sign and exponent: small finite numbers
  for (let i = 1; i < piece.length; i += 2) piece[i] = (piece[i] & 0x80) | 0x3b
  for (let left = offset; left > 0; left -= piece.length) writeSync(file, piece, 0, Math.min(left, piece.length))
  closeSync(file)
  const sizes = {
    hidden_size: D,
    intermediate_size: F,
    head_dim: E,
    num_attention_heads: heads,
    num_key_value_heads: heads,
  }
  const changed = { ...config, ...sizes, num_hidden_layers: layers, tie_word_embeddings: false, dtype: 'bfloat16' }
  writeFileSync(join(folder, 'config.json'), JSON.stringify(changed))
  for (const name of ['tokenizer.json', 'tokenizer_config.json']) copyFileSync(join(embedded, name), join(folder, name))
  return offset
}
