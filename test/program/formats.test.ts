import { chmodSync, cpSync, existsSync, mkdtempSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import type { PruningPlan } from '../../src/types.ts'
import { blockpruner } from './commandLine.ts'

const newFolder = () => mkdtempSync(join(tmpdir(), 'formats-'))
const fixtures = resolve(import.meta.dirname, '../fixtures/tiny-random')

beforeEach(() => vi.stubEnv('BLOCKPRUNER_PYTHON', '/nowhere/python'))
afterEach(() => vi.unstubAllEnvs())

/** The embedded model with other entries in its tokenizer.json. */
function withTokenizer(entries: object): string {
  const folder = newFolder()
  cpSync(resolve(import.meta.dirname, '../../models/brown-llama'), folder, { recursive: true })
  const path = join(folder, 'tokenizer.json')
  writeFileSync(path, JSON.stringify({ ...JSON.parse(readFileSync(path, 'utf8')), ...entries }))
  return folder
}

/** A plan.json by hand. */
function planFile(...blocks: PruningPlan['blocks']): string {
  const sha256 = '0'.repeat(64)
  const path = join(newFolder(), 'plan.json')
  const calibration = { source: 'none', rows: 1, rowLength: 1, tokens: 1, bos: 'none', sha256, fingerprints: [] }
  const json = {
    version: 1,
    model: { id: 'embedded', modelType: 'llama', sha256, parameters: 1 },
    ...{ method: 'blockpruner', options: {}, calibration, seed: 1, versions: {}, dense: { loss: 1, perplexity: 3 } },
    ...{ steps: [], complete: true, plan: { blocks, units: {} } },
  }
  writeFileSync(path, JSON.stringify(json))
  return path
}

const applied = (plan: string, output: string, ...options: string[]) =>
  blockpruner(['apply', '--plan', plan, '--allow-other-model', '--output', output, ...options])

describe('apply', () => {
  it('writes every format, each in its place, and prints a line for each consumer', async () => {
    const output = join(newFolder(), 'exports')
    const plan = planFile('decoder.3.attention', 'decoder.3.mlp')
    const { code, stdout, stderr } = await applied(plan, output, '--format', 'huggingface,gguf,onnx,nemotron,mergekit')
    expect([code, stderr]).toEqual([0, expect.any(String)])
    expect(readdirSync(output).toSorted()).toEqual(['mergekit.yaml', 'model', 'model.gguf', 'nemotron', 'onnx'])
    expect(stdout).toMatch(/nemotron: .*, agreed with by nobody: no software for it is installed/)
    expect(stdout).toMatch(/gguf: .* MB \(dense 5\.5 MB\), agreed with by blockpruner/)
    expect(readFileSync(join(output, 'mergekit.yaml'), 'utf8')).toContain('layer_range: [4, 12]')
    expect(readFileSync(join(output, 'nemotron', 'README.md'), 'utf8')).toContain('is for vLLM: the other readers')
    expect(stderr).toMatch(/model: blockpruner this version F32: agrees, top-1 100.0 %/)
    expect(stderr).toMatch(/model: transformers \(Python\) F32: skipped: \/nowhere\/python is not installed/)
    expect(stderr).toMatch(/model\.gguf: blockpruner this version BF16: agrees/)
    expect(stderr).toMatch(/model\.gguf: llama\.cpp \(node-llama-cpp\)/)
    expect(stderr).toMatch(/onnx: transformers\.js/)
    expect(stderr).toMatch(/nemotron: vLLM F32: skipped: \/nowhere\/python is not installed/)
  })

  it('gives GGUF for GGUF, eight bits for ONNX, and says what each file has beside the dense model', async () => {
    const [plan, output] = [planFile('decoder.3.mlp'), newFolder()]
    const small = join(output, 'small.gguf')
    const eight = ['--no-verify', '--format', 'gguf', '--quantize', 'Q8_0']
    const made = await applied(plan, small, ...eight)
    expect([made.code, made.stdout]).toEqual([
      0,
      expect.stringMatching(/^gguf: .*, 2\.\d MB \(dense 5\.5 MB\), opened in no other/),
    ])
    const again = await applied(planFile('decoder.0.mlp'), join(output, 'again'), '--model', small, '--no-verify')
    expect([again.code, again.stdout]).toEqual([
      0,
      expect.stringMatching(/again.model\.gguf, 2\.\d MB \(dense 2\.\d MB\)/),
    ])
    const folder = join(output, 'onnx')
    const onnx = await applied(plan, folder, '--no-verify', '--format', 'onnx')
    expect([onnx.code, onnx.stdout]).toEqual([0, expect.stringMatching(/^onnx: .*, \d\.\d MB \(dense 5\.5 MB\)/)])
    expect(readdirSync(join(folder, 'onnx')).toSorted()).toEqual(['model_quantized.onnx', 'model_quantized.onnx_data'])
    const config = JSON.parse(readFileSync(join(folder, 'config.json'), 'utf8'))
    expect(config['transformers.js_config'].dtype).toBe('q8')
  }, 120_000)

  it('writes nothing when one of the formats has no form for the plan', async () => {
    const output = join(newFolder(), 'exports')
    const { code, stderr } = await applied(planFile('decoder.3.mlp'), output, '--format', 'gguf,mergekit')
    expect(code).toBe(1)
    expect(stderr).toMatch(/plan: leaves blocks that are custom, expected whole layers of a decoder for mergekit/)
    expect(existsSync(output)).toBe(false)
  })

  it('does not touch a folder with files in it, whatever the format', async () => {
    for (const format of ['huggingface', 'onnx', 'nemotron']) {
      const output = newFolder()
      writeFileSync(join(output, 'thesis.tex'), 'mine')
      const { code, stderr } = await applied(planFile('decoder.3.mlp'), output, '--format', format)
      expect([format, code, stderr]).toEqual([
        format,
        1,
        expect.stringMatching(/has other files \(thesis\.tex …\).*--force/),
      ])
      expect(readdirSync(output)).toEqual(['thesis.tex'])
    }
  }, 60_000)
})

describe('prune', () => {
  const search = ['--nsamples', '1', '--seqlen', '32', '--remove', '2', '--quiet']

  it.each([
    [
      'mergekit for a search that removes attention alone',
      'mergekit',
      [],
      /--format mergekit: has no form for every plan that may be found, such as one that takes from decoder\.0\.attention .*--method sleb/,
    ],
    ['nemotron for another family', 'nemotron', ['--model', join(fixtures, 'qwen2')], /expected llama without biases/],
    ['gguf for a family it does not have', 'gguf', ['--model', join(fixtures, 'gpt2')], /gpt2/],
    ['gguf for branches of Qwen3', 'gguf', ['--model', join(fixtures, 'qwen3')], /--format gguf: has no form/],
    [
      'gguf for a text splitting that llama.cpp has no name for',
      'gguf',
      ['--model', withTokenizer({ pre_tokenizer: { type: 'Split', pattern: { Regex: 'q' }, behavior: 'Isolated' } })],
      /tokenizer\.json: llama\.cpp has no name for the way it splits text/,
    ],
    [
      'gguf for added tokens beyond the vocabulary',
      'gguf',
      ['--model', withTokenizer({ added_tokens: [{ id: 99_999, content: '<odd>', special: true }] })],
      /tokenizer\.json: token "<odd>" has id 99999, expected 0 to /,
    ],
    ['nemotron where the first attention may go', 'nemotron', [], /--keep-blocks decoder\.0\.attention/],
  ])('refuses %s before it searches', async (_, format, model, message) => {
    const output = join(newFolder(), 'run')
    const args = ['prune', '--output', output, '--format', format, '--kinds', 'attention', ...search, ...model]
    const { code, stderr } = await blockpruner(args)
    expect(stderr).toMatch(message)
    expect(code).toBe(stderr.startsWith('error: --') ? 2 : 1)
    // neither a journal nor a plan: nothing was evaluated
    expect(existsSync(output)).toBe(false)
  })

  it.each([
    ['single blocks', [], /one that takes from decoder\.0\.attention .*--method sleb/],
    [
      'an attention and the mlp of another layer',
      ['--layout', 'stock'],
      /decoder\.0\.mlp and decoder\.1\.attention .*sleb/,
    ],
    ['channels', ['--method', 'flap'], /from decoder\.0\.mlp .*--method sleb/],
  ])('refuses mergekit, which moves whole layers, where a search may take %s', async (_, options, message) => {
    const output = join(newFolder(), 'run')
    const args = ['--nsamples', '1', '--seqlen', '32', '--ratio', '0.1', '--quiet', ...options]
    const { code, stderr } = await blockpruner(['prune', '--output', output, '--format', 'mergekit', ...args])
    expect([code, stderr]).toEqual([2, expect.stringMatching(message)])
    expect(existsSync(output)).toBe(false)
  })

  it('writes mergekit after a search over whole layers, and Nemotron where the first attention stays', async () => {
    const runs = [
      ['mergekit', '--method', 'sleb'],
      ['nemotron', '--keep-blocks', 'decoder.0.attention'],
      ['mergekit', '--remove-blocks', 'decoder.3'],
    ]
    for (const [format, ...options] of runs) {
      const output = join(newFolder(), 'run')
      const budget = options[0] === '--remove-blocks' ? [] : ['--ratio', '0.1']
      const small = ['--nsamples', '1', '--seqlen', '32', '--quiet', '--no-verify', ...budget]
      const { code, stderr } = await blockpruner([
        'prune',
        '--output',
        output,
        '--format',
        format!,
        ...small,
        ...options,
      ])
      expect([code, stderr]).toEqual([0, expect.any(String)])
      expect(existsSync(join(output, 'plan.json'))).toBe(true)
    }
  }, 60_000)
})

describe('a consumer', () => {
  /** A program in the place of Python. */
  function python(code: string): void {
    const path = join(newFolder(), 'python')
    writeFileSync(path, `#!${process.execPath}\n${code}`)
    chmodSync(path, 0o755)
    vi.stubEnv('BLOCKPRUNER_PYTHON', path)
  }
  const other = `
    const { readFileSync, writeFileSync } = require('node:fs')
    const { output, rows, rowLength, width } = JSON.parse(readFileSync(0, 'utf8'))
    const logits = Float32Array.from({ length: rows * rowLength * width }, (_, i) => i % 7)
    writeFileSync(output, new Uint8Array(logits.buffer))
    console.log('0.0')`

  it('that computes something else fails the command, unless it is not asked', async () => {
    python(other)
    const [plan, output] = [planFile('decoder.3.mlp'), join(newFolder(), 'model')]
    const wrong = await applied(plan, output)
    expect(wrong.code).toBe(1)
    expect(wrong.stderr).toMatch(/transformers \(Python\) 0\.0 F32: disagrees, top-1 .*do not use this export/s)
    const unasked = await applied(plan, join(newFolder(), 'model'), '--no-verify')
    expect([unasked.code, unasked.stderr]).toEqual([
      0,
      expect.stringMatching(/^\S+: its plan and model are those .*exactly\n$/),
    ])
    expect(unasked.stdout).toMatch(/reopened and equal to the plan, opened in no other software/)
  })

  it('that lacks its libraries is said, and is no error', async () => {
    python("console.log('torch is not installed in here: pip install torch transformers'); process.exit(77)")
    const { code, stderr } = await applied(planFile('decoder.3.mlp'), join(newFolder(), 'model'))
    expect([code, stderr]).toEqual([0, expect.stringMatching(/skipped: torch is not installed in here/)])
  })
})
