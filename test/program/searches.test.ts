import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { blockpruner } from './commandLine.ts'

const small = ['--nsamples', '4', '--seqlen', '16', '--quiet', '--no-export', '--threads', '1']
const run = (folder: string, args: string[]) => blockpruner(['prune', '--output', folder, ...small, ...args])
const newFolder = () => mkdtempSync(join(tmpdir(), 'search-'))

describe.each([
  ['--search', 'fast', '--remove', '2'],
  ['--search', 'swap', '--remove', '1'],
  ['--search', 'evolve', '--generations', '1', '--remove', '1'],
  ['--search', 'beam', '--beam-width', '2', '--remove', '2', '--kinds', 'attention'],
  ['--search', 'fast', '--layout', 'stock', '--remove', '2'],
  ['--search', 'fast', '--objective', 'perplexity,js', '--remove', '1', '--check-rows', '2'],
])('%s %s %s %s %s %s %s', (...args) => {
  it('ends, and stopped half-way ends with the same bytes', async () => {
    const given = args.filter((arg) => typeof arg === 'string')
    const folder = newFolder()
    expect(await run(folder, given)).toMatchObject({ code: 0 })
    const [plan, journal] = ['plan.json', 'journal.jsonl'].map((name) => readFileSync(join(folder, name), 'utf8'))
    const file = JSON.parse(plan!)
    expect(file.complete).toBe(true)
    expect(file.options).toMatchObject({
      [given[2] === '--layout' ? 'layout' : 'search']: given[2] === '--layout' ? 'stock' : given[1],
    })
    // a stock layout keeps a quarter of the rows by itself
    const isChecked = given.includes('--check-rows') || given.includes('--layout')
    expect(file.steps.every((step: { check?: unknown }) => (step.check !== undefined) === isChecked)).toBe(true)
    const lines = journal!.split('\n')
    writeFileSync(join(folder, 'journal.jsonl'), `${lines.slice(0, Math.floor(lines.length / 2)).join('\n')}\n`)
    rmSync(join(folder, 'plan.json'))
    expect(await run(folder, given)).toMatchObject({ code: 0 })
    expect(readFileSync(join(folder, 'plan.json'), 'utf8')).toBe(plan)
    expect(readFileSync(join(folder, 'journal.jsonl'), 'utf8')).toBe(journal)
  }, 120_000)
})

describe('names that are none', () => {
  it.each([
    [['--method', 'finercut', '--distance', 'angula'], /"angula" is not one of js, .*; did you mean angular\?/],
    [['--kinds', 'mpl'], /"mpl" is not one of attention, crossAttention, mlp; did you mean mlp\?/],
    [['--remove', 'al'], /Expected a whole number/],
    [['--remove', '3', '--speedup', '2'], /'--speedup <x>' cannot be used with option '--remove <n>'/],
  ])('%j', async (args, message) => {
    const { code, stderr } = await run(newFolder(), args)
    expect(code).toBe(2)
    expect(stderr).toMatch(message)
  })
})

describe('options that contradict each other', () => {
  it.each([
    [['--search', 'fsat'], /--search fsat: is no search, expected one of .*; did you mean fast\?/],
    [['--method', 'flap', '--layout', 'stock'], /--layout: belongs to the search of blockpruner/],
    [['--method', 'flap', '--remove', '4'], /--remove 4: counts blocks, but flap removes channels and heads/],
    [['--method', 'finercut', '--distance', 'angular', '--top-k', '8'], /--top-k 8: --distance angular needs all/],
    [
      ['--method', 'policy-gradient', '--units', 'channels', '--kv-bytes', '100'],
      /--kv-bytes 100: policy-gradient with these options can remove at most 12 of the 24 blocks/,
    ],
    [['--no-plus'], /--no-plus: is not an option of blockpruner.*; it is an option of shortened-llama/],
    [['--objective', 'kk'], /--objective kk: expected one of perplexity, kl, js/],
    [['--search', 'fast', '--beam-width', '2'], /--beam-width: is not an option of fast.*; it is an option of beam/],
    [
      ['--search', 'fast', '--generations', '2'],
      /--generations: is not an option of fast.*; it is an option of evolve/,
    ],
    [['--start', 'exact'], /--start: is not an option of fast.*; it is an option of evolve, swap/],
    [['--layout', 'stock', '--kinds', 'mlp'], /--layout stock removes attention and mlp together/],
    [['--method', 'sleb', '--search', 'fast'], /--search: belongs to the search of blockpruner/],
    [['--patience', '3'], /--patience: is not an option of fast.*; it is an option of swap/],
    [['--check-rows', '4'], /--check-rows 4: expected a whole number from 0 to 3/],
    [['--size', '0.001'], /--size 0.001: expected megabytes from/],
  ])('%j', async (args, message) => {
    const { code, stderr } = await run(newFolder(), args)
    expect(code).toBe(2)
    expect(stderr).toMatch(message)
  })
})
