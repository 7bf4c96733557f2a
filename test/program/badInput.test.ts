import { cpSync, existsSync, mkdtempSync, readFileSync, truncateSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { describe, expect, it } from 'vitest'
import { blockpruner } from './commandLine.ts'

const embedded = resolve(import.meta.dirname, '../../models/brown-llama')
const newFolder = () => mkdtempSync(join(tmpdir(), 'bad-'))

/** A copy of the embedded model with one thing changed. */
function changed(change: (folder: string) => void): string {
  const folder = join(newFolder(), 'model')
  cpSync(embedded, folder, { recursive: true })
  change(folder)
  return folder
}

function config(folder: string, values: Record<string, unknown>): void {
  const path = join(folder, 'config.json')
  writeFileSync(path, JSON.stringify({ ...JSON.parse(readFileSync(path, 'utf8')), ...values }))
}

function json(value: unknown): string {
  const path = join(newFolder(), 'file.json')
  writeFileSync(path, JSON.stringify(value))
  return path
}

function headerOf(
  folder: string,
  edit: (header: Record<string, { data_offsets: number[]; dtype: string }>) => void,
): void {
  const path = join(folder, 'model.safetensors')
  const bytes = readFileSync(path)
  const length = Number(bytes.readBigUInt64LE(0))
  const header = JSON.parse(bytes.subarray(8, 8 + length).toString())
  edit(header)
  const text = Buffer.from(JSON.stringify(header))
  const size = Buffer.alloc(8)
  size.writeBigUInt64LE(BigInt(text.length))
  writeFileSync(path, Buffer.concat([size, text, bytes.subarray(8 + length)]))
}

/** Makes the first weight of a matrix NaN. */
function damage(folder: string): void {
  const path = join(folder, 'model.safetensors')
  const bytes = readFileSync(path)
  const length = Number(bytes.readBigUInt64LE(0))
  const [start] = JSON.parse(bytes.subarray(8, 8 + length).toString())['model.layers.4.mlp.down_proj.weight']
    .data_offsets
  bytes.writeUInt16LE(0x7fc0, 8 + length + start)
  writeFileSync(path, bytes)
}

const model = (change: (folder: string) => void) => () => ['--model', changed(change)]
const wide = 'model.layers.0.mlp.up_proj.weight'

/** name → [arguments, what the message must say: found, expected or cure] */
const cases: Record<string, [() => string[], RegExp]> = {
  'a model that is not there': [() => ['--model', './nowhere'], /nowhere: is no folder.*expected/],
  'a truncated safetensors': [
    model((f) => truncateSync(join(f, 'model.safetensors'), 4e6)),
    /model\.safetensors: tensor .* ends at data byte .*, but the file has/,
  ],
  'a header length beyond the file': [
    model((f) => {
      const path = join(f, 'model.safetensors')
      const bytes = readFileSync(path)
      bytes.writeBigUInt64LE(2n ** 60n, 0)
      writeFileSync(path, bytes)
    }),
    /model\.safetensors.*header.*expected/,
  ],
  'overlapping offsets': [
    model((f) =>
      headerOf(f, (header) => {
        header[wide]!.data_offsets = header['model.norm.weight']!.data_offsets
      }),
    ),
    /model\.safetensors/,
  ],
  'an unknown dtype': [
    model((f) =>
      headerOf(f, (header) => {
        header[wide]!.dtype = 'Q99'
      }),
    ),
    /Q99/,
  ],
  'a config of other shapes': [
    model((f) => config(f, { intermediate_size: 360 })),
    /has shape \[352, 128\], expected \[360, 128\]/,
  ],
  'an unknown model_type': [
    model((f) => config(f, { model_type: 'mamba' })),
    /model_type is "mamba", expected one of .*llama/,
  ],
  'an unknown rope type': [
    model((f) => config(f, { rope_parameters: { rope_type: 'proportional', rope_theta: 1e4 } })),
    /"rope_type" is "proportional".*known: default, linear/,
  ],
  'a quantised checkpoint': [model((f) => config(f, { quantization_config: { bits: 4 } })), /quantization_config/],
  'a tokenizer of another vocabulary': [
    model((f) => {
      const path = join(f, 'tokenizer.json')
      const file = JSON.parse(readFileSync(path, 'utf8'))
      for (const token of Object.keys(file.model.vocab)) file.model.vocab[token] += 5000
      writeFileSync(path, JSON.stringify(file))
    }),
    /vocab/i,
  ],
  'NaN weights': [model(damage), /loss of the dense model is NaN.*decoder\.4\.mlp/],
  'ids outside the vocabulary': [() => ['--tokens', json({ ids: Array(64).fill(4096) })], /4096/],
  'a tokens file of another shape': [() => ['--tokens', json({ tokens: [1] })], /ids/],
  'an empty data set': [
    () => {
      const path = join(newFolder(), 'empty.txt')
      writeFileSync(path, '')
      return ['--dataset', path]
    },
    /empty\.txt/,
  ],
  'too little text': [() => ['--nsamples', '1000000'], /expected|rows/],
  'more blocks than there are': [() => ['--remove', '25'], /--remove 25: expected a whole number from 1 to 24/],
  'no block': [() => ['--remove', '0'], /--remove 0: expected/],
  'a ratio out of range': [() => ['--ratio', '1.5'], /--ratio 1.5: expected more than 0 and at most 0\.\d+/],
  'a negative ratio': [() => ['--ratio=-0.1'], /--ratio -0.1: expected/],
}

describe('bad input is one line that says what was found, what was expected and the cure, and writes nothing', () => {
  it.for(Object.entries(cases))('%s', async ([, [args, message]]) => {
    const output = join(newFolder(), 'run')
    const given = args()
    const rows = given.includes('--nsamples') ? [] : ['--nsamples', '1']
    const size = [...rows, '--seqlen', '16', '--output', output]
    const { code, stdout, stderr } = await blockpruner(['prune', ...size, ...given, '--quiet'])
    expect(stderr).toMatch(message)
    expect(stderr.trimEnd().split('\n')).toHaveLength(1)
    // an error about an option is wrong usage
    expect({ code, stdout }).toEqual({ code: stderr.startsWith('error: --') ? 2 : 1, stdout: '' })
    expect(existsSync(join(output, 'plan.json'))).toBe(false)
    expect(existsSync(join(output, 'model'))).toBe(false)
  })

  it('an output folder that cannot be written', async () => {
    const file = join(newFolder(), 'file')
    writeFileSync(file, '')
    const { code, stderr } = await blockpruner([
      'prune',
      '--nsamples',
      '1',
      '--seqlen',
      '16',
      '--output',
      join(file, 'run'),
      '--quiet',
    ])
    expect(code).toBe(1)
    expect(stderr).toMatch(/cannot be made.*writable/)
  })

  it.skipIf(process.platform !== 'linux')('an output folder that cannot be made, which ends at once', async () => {
    const impossible = '/proc/self/none/run'
    const size = ['--nsamples', '1', '--seqlen', '16', '--quiet', '--threads', '1']
    const prune = await blockpruner(['prune', ...size, '--remove', '1', '--output', impossible])
    expect(prune).toMatchObject({ code: 1, signal: null })
    expect(prune.stderr).toMatch(/\/proc\/self\/none\/run: cannot be made .*; is --output a writable folder\?/)
    const run = join(newFolder(), 'run')
    expect(await blockpruner(['prune', ...size, '--remove', '1', '--no-export', '--output', run])).toMatchObject({
      code: 0,
    })
    for (const format of ['huggingface', 'gguf', 'onnx']) {
      const plan = ['--plan', join(run, 'plan.json'), '--threads', '1', '--no-verify']
      const output = format === 'gguf' ? `${impossible}.gguf` : impossible
      const apply = await blockpruner(['apply', ...plan, '--format', format, '--output', output])
      expect(apply).toMatchObject({ code: 1, signal: null })
      expect(apply.stderr).toMatch(/\/proc\/self\/none.*the folder does not exist: create it first, or choose another/)
    }
  })

  it('NaN weights in what is to be evaluated', async () => {
    const { code, stderr } = await blockpruner([
      'evaluate',
      '--model',
      changed(damage),
      '--nsamples',
      '1',
      '--seqlen',
      '16',
    ])
    expect(code).toBe(1)
    expect(stderr).toMatch(/loss of the dense model is NaN.*decoder\.4\.mlp; is the checkpoint damaged/)
  })

  it('a plan for another model', async () => {
    const folder = newFolder()
    await blockpruner([
      'prune',
      '--nsamples',
      '1',
      '--seqlen',
      '16',
      '--output',
      folder,
      '--remove',
      '1',
      '--quiet',
      '--no-export',
    ])
    const other = changed((f) => config(f, { rms_norm_eps: 1e-4 }))
    const { code, stderr } = await blockpruner([
      'apply',
      '--model',
      other,
      '--plan',
      join(folder, 'plan.json'),
      '--output',
      join(folder, 'x'),
    ])
    expect(code).toBe(1)
    expect(stderr).toMatch(/was made for embedded.*is another model/)
    expect(existsSync(join(folder, 'x'))).toBe(false)
  })

  it('wrong usage ends with 2 and a suggestion', async () => {
    expect(await blockpruner(['prune', '--output', 'x', '--remve', '3'])).toMatchObject({
      code: 2,
      stderr: expect.stringContaining('--remove'),
    })
    expect(await blockpruner(['prune'])).toMatchObject({ code: 2, stderr: expect.stringContaining('--output') })
    expect(await blockpruner(['prun'])).toMatchObject({ code: 2, stderr: expect.stringContaining('prune') })
    expect(await blockpruner(['prune', '--output', 'x', '--remove', '3', '--ratio', '0.1'])).toMatchObject({ code: 2 })
    expect(await blockpruner(['prune', '--output', 'x', '--nsamples', '0'])).toMatchObject({
      code: 2,
      stderr: expect.stringContaining("argument '0' is invalid. Expected at least 1."),
    })
    expect(await blockpruner(['prune', '--output', 'x', '--seqlen', '1'])).toMatchObject({
      code: 2,
      stderr: expect.stringContaining('--seqlen 1: leaves no token to predict, expected rows of at least 2 tokens'),
    })
    expect(await blockpruner(['--help'])).toMatchObject({ code: 0, stdout: expect.stringContaining('prune') })
  })
})
