import { existsSync, mkdtempSync, readdirSync, readFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { expectError } from '../measured.ts'
import { blockpruner } from './commandLine.ts'
import { expectEqualRuns, killedRun } from './killedRun.ts'

const newFolder = () => mkdtempSync(join(tmpdir(), 'prune-'))
const small = ['--nsamples', '2', '--seqlen', '64', '--remove', '4', '--quiet', '--no-export']
const read = (folder: string, name = 'plan.json') => readFileSync(join(folder, name), 'utf8')
const lines = (folder: string) => read(folder, 'journal.jsonl').trimEnd().split('\n')

describe('a run', () => {
  it('is the same bytes again, of batches this size on another number of threads too', async () => {
    const [first, second] = [newFolder(), newFolder()]
    expect(await blockpruner(['prune', '--output', first, '--threads', '2', ...small])).toMatchObject({ code: 0 })
    expect(await blockpruner(['prune', '--output', second, '--threads', '1', ...small])).toMatchObject({ code: 0 })
    expect(read(second)).toBe(read(first))
  })

  it('killed at any moment goes on where it was, evaluates nothing twice and ends with the same bytes', async () => {
    const { kills, whole, killed } = await killedRun(small, { attempts: 5, seed: 7 })
    expect(kills).toBeGreaterThan(0)
    expectEqualRuns(whole, killed)
  }, 120_000)

  it('stopped by Ctrl-C says how to go on, and goes on', async () => {
    const folder = newFolder()
    const stopped = await blockpruner(['prune', '--output', folder, ...small], (kill) => {
      const poll = setInterval(() => {
        if (!existsSync(join(folder, 'journal.jsonl')) || lines(folder).length < 10) return
        clearInterval(poll)
        kill('SIGINT')
      }, 5)
    })
    expect(stopped).toMatchObject({ code: 130, stdout: '' })
    expect(stopped.stderr).toContain(`the same command again resumes the run in ${folder}`)
    expect(await blockpruner(['prune', '--output', folder, ...small])).toMatchObject({ code: 0 })
  }, 120_000)

  it('refuses other inputs in the same folder and leaves it as it was', async () => {
    const folder = newFolder()
    await blockpruner(['prune', '--output', folder, ...small])
    const before = [read(folder), read(folder, 'journal.jsonl')]
    const other = await blockpruner(['prune', '--output', folder, ...small, '--nsamples', '3'])
    expect(other.code).toBe(1)
    expect(other.stderr).toMatch(/belongs to a run with other inputs: calibration.rows is 2 there and 3 now/)
    expect([read(folder), read(folder, 'journal.jsonl')]).toEqual(before)
  }, 120_000)

  it('prints one JSON result on stdout and everything else on stderr', async () => {
    const folder = newFolder()
    const args = ['prune', '--output', folder, '--nsamples', '1', '--seqlen', '32', '--ratio', '0.05', '--json']
    const { code, stdout, stderr } = await blockpruner([...args, '--eval-dataset', 'embedded:test'])
    expect(code).toBe(0)
    const result = JSON.parse(stdout)
    expect(result.steps.at(-1).ratio).toBeGreaterThanOrEqual(0.05)
    expectError(result.export.difference, 0)
    expect(result.evaluation.pruned.tokenPooled).toBeGreaterThan(1)
    expect(stderr).toContain('step 1: removed decoder.')
    expect(readdirSync(join(folder, 'model'))).toEqual(
      expect.arrayContaining(['config.json', 'model.safetensors', 'README.md', 'tokenizer.json']),
    )
    const applied = await blockpruner([
      'apply',
      '--plan',
      join(folder, 'plan.json'),
      '--steps',
      '1',
      '--output',
      join(folder, 'one'),
    ])
    expect(applied).toMatchObject({ code: 0 })
    const again = await blockpruner([
      'evaluate',
      '--model',
      join(folder, 'model'),
      '--nsamples',
      '64',
      '--seqlen',
      '32',
      '--json',
    ])
    expect(JSON.parse(again.stdout).dense.tokenPooled).toBeCloseTo(result.evaluation.pruned.tokenPooled, 3)
    const own = await blockpruner([
      'evaluate',
      '--plan',
      join(folder, 'plan.json'),
      '--dataset',
      'embedded',
      '--nsamples',
      '2',
      '--seqlen',
      '32',
    ])
    expect(own.stdout).toContain('NOT held out')
    const held = await blockpruner([
      'evaluate',
      '--plan',
      join(folder, 'plan.json'),
      '--nsamples',
      '2',
      '--seqlen',
      '32',
    ])
    expect(held.stdout).toContain(', held out')
    const shown = await blockpruner(['inspect', folder])
    expect(shown.stdout).toContain(result.steps[0].removed[0])
    // all twelve layers, those behind the last that lost something too
    expect(shown.stdout).toMatch(/^layer( +\d+){12}$/m)
  }, 240_000)
})
