import { cp, mkdir, readFile, writeFile } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import { writeSafetensors } from '../../src/format/safetensors/write.ts'
import { Random } from '../../src/tensor/random.ts'

const embedded = resolve(import.meta.dirname, '../../models/brown-llama')

/** The embedded model with other sizes and float32 weights drawn at random: large enough that writing it takes a while. */
export async function writeRandomLlama(folder: string, { layers, channels }: { layers: number; channels: number }) {
  const config = JSON.parse(await readFile(join(embedded, 'config.json'), 'utf8'))
  const { hidden_size: D, vocab_size: V, head_dim: E, num_attention_heads: heads, num_key_value_heads: K } = config
  const shapes: Record<string, number[]> = { 'model.embed_tokens.weight': [V, D], 'model.norm.weight': [D] }
  for (let layer = 0; layer < layers; layer++) {
    const name = `model.layers.${layer}`
    shapes[`${name}.input_layernorm.weight`] = [D]
    shapes[`${name}.self_attn.q_proj.weight`] = [heads * E, D]
    for (const part of ['k', 'v']) shapes[`${name}.self_attn.${part}_proj.weight`] = [K * E, D]
    shapes[`${name}.self_attn.o_proj.weight`] = [D, heads * E]
    shapes[`${name}.post_attention_layernorm.weight`] = [D]
    for (const part of ['gate', 'up']) shapes[`${name}.mlp.${part}_proj.weight`] = [channels, D]
    shapes[`${name}.mlp.down_proj.weight`] = [D, channels]
  }
  const random = new Random(1)
  const drawn = Float32Array.from({ length: 2 ** 20 }, () => 0.1 * (random.uniform() - 0.5))
  const data = (elements: number) => {
    const values = new Float32Array(elements)
    for (let at = 0; at < elements; at += drawn.length) values.set(drawn.subarray(0, elements - at), at)
    return new Uint8Array(values.buffer)
  }
  await mkdir(folder, { recursive: true })
  const tensors = Object.entries(shapes).map(([name, shape]) => ({
    ...{ name, type: 'F32' as const, shape },
    data: async () => data(shape.reduce((product, size) => product * size, 1)),
  }))
  await writeSafetensors(folder, tensors)
  await cp(embedded, folder, { recursive: true, filter: (path) => !/(\/config\.json|\.safetensors)$/.test(path) })
  const changed = { ...config, num_hidden_layers: layers, intermediate_size: channels, dtype: 'float32' }
  await writeFile(join(folder, 'config.json'), JSON.stringify(changed))
}
