import { mkdtempSync, readFileSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { beforeAll, describe, expect, it, vi } from 'vitest'
import { blockpruner } from './commandLine.ts'

const fixtures = resolve(import.meta.dirname, '../fixtures/tiny-random')
const folder = mkdtempSync(join(tmpdir(), 'verify-'))
const other = join(folder, 'other')
const [plan, dense, early, whole] = ['run/plan.json', 'dense.gguf', 'early.gguf', 'whole.gguf'].map((name) =>
  join(folder, name),
) as [string, string, string, string]

const verify = (path: string, ...options: string[]) => blockpruner(['verify', path, '--seqlen', '16', ...options])

/** A run of four steps, and GGUF files of two of them, of all, and of none. */
beforeAll(async () => {
  vi.stubEnv('BLOCKPRUNER_PYTHON', '/nowhere/python')
  const succeed = async (...args: string[]) => {
    const { code, stderr } = await blockpruner(args)
    expect([code, stderr]).toEqual([0, expect.any(String)])
  }
  const search = ['--method', 'magnitude', '--remove', '4', '--nsamples', '1', '--seqlen', '32']
  await succeed('prune', '--output', join(folder, 'run'), ...search, '--no-export', '--quiet')
  const applied = (output: string, ...options: string[]) =>
    succeed('apply', '--plan', plan, '--output', output, '--quiet', ...options)
  await applied(whole, '--format', 'gguf', '--quantize', 'Q4_0')
  await applied(other, '--format', 'huggingface', '--steps', '0')
  const config = JSON.parse(readFileSync(join(other, 'config.json'), 'utf8'))
  writeFileSync(join(other, 'config.json'), JSON.stringify({ ...config, rms_norm_eps: 1e-6 }))
  await applied(early, '--format', 'gguf', '--steps', '2', '--quantize', 'Q4_0')
  await applied(dense, '--format', 'gguf', '--steps', '0')
}, 120_000)

describe('verify', () => {
  it('says of four bits that they are rounded, and not that they agree', async () => {
    const { code, stdout } = await verify(whole, '--plan', plan)
    expect([code, stdout]).toEqual([
      0,
      expect.stringMatching(/its plan and model are those given; its tokenizer gives the same \d+ ids; of \d+ tensors/),
    ])
    expect(stdout).toMatch(
      /Q4_0: agrees, top-1 100\.0 %.*; the weights as stored are within 4-bit rounding of the plan, not equal to it: top-1/,
    )
  })

  it.each([
    [
      'a file of fewer steps than the plan has',
      () => [early, '--plan', plan],
      /first 2 steps: verify it with --steps 2/,
    ],
    ['a pruned file without its plan', () => [whole], /was made of another plan .*; give its plan with --plan/],
    ['a file of the whole model with a plan', () => [dense, '--plan', plan], /whole model: verify it without --plan/],
    [
      'a plan of another model',
      () => [whole, '--plan', plan, '--model', join(fixtures, 'llama')],
      /plan\.json: was made for embedded/,
    ],
    ['a file of another model', () => [dense, '--model', other], /made of another model/],
  ])('fails for %s', async (_, args, message) => {
    const [path, ...options] = args() as [string, ...string[]]
    const { code, stderr } = await verify(path, ...options)
    expect([code, stderr]).toEqual([1, expect.stringMatching(message)])
  })

  it('fails for a file with a few damaged weights', async () => {
    const bytes = readFileSync(whole)
    for (let i = 0; i < 3; i++) bytes[Math.floor(bytes.length / 2) + i]! ^= 255
    const damaged = join(folder, 'damaged.gguf')
    writeFileSync(damaged, bytes)
    const { code, stderr } = await verify(damaged, '--plan', plan)
    expect([code, stderr]).toEqual([
      1,
      expect.stringMatching(/the file is damaged or of another model, export it anew/),
    ])
  })
})
