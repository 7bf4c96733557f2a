import { mkdtempSync, readFileSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { beforeAll, describe, expect, it } from 'vitest'
import { readPlanFile } from '../../src/run/planFile.ts'
import { blockpruner } from './commandLine.ts'

const folder = mkdtempSync(join(tmpdir(), 'compare-'))
const size = ['--nsamples', '2', '--seqlen', '32', '--threads', '1']
const runs = ['magnitude', 'random'].map((method) => join(folder, method))

async function succeed(...args: string[]): Promise<string> {
  const finished = await blockpruner(args)
  expect(finished.code, finished.stderr).toBe(0)
  return finished.stdout
}

const prune = (method: string, output: string, ...more: string[]) =>
  succeed('prune', '--output', output, '--method', method, '--remove', '4', '--no-export', ...size, ...more)

beforeAll(async () => {
  for (const run of runs) await prune(run === runs[0] ? 'magnitude' : 'random', run)
})

describe('compare', () => {
  it('shows runs on their calibration text until curves of another text are there', async () => {
    const [magnitude] = await Promise.all(runs.map((run) => readPlanFile(join(run, 'plan.json'))))
    const before = await succeed('compare', ...runs, '--at', '0,0.01')
    expect(before).toMatch(
      /on brown:train, 2 rows of 32, the calibration text itself\n\nperplexity at +magnitude +random/,
    )
    expect(before).toContain(magnitude!.dense.perplexity!.toFixed(3))

    const measured = []
    for (const run of runs)
      measured.push(JSON.parse(await succeed('evaluate', '--plan', run, '--curve', '--json', ...size)))
    const csv = await succeed('compare', ...runs, '--at', '0.01', '--format', 'csv')
    for (const [i, { points }] of measured.entries()) {
      const first = points.find(({ ratio }: { ratio: number }) => ratio >= 0.01)
      expect(csv.split('\n')[i + 1]).toBe(
        [0.01, i === 0 ? 'magnitude' : 'random', first.step, first.ratio, first.parameters, first.loss]
          .concat([Math.exp(first.loss), first.standardError])
          .join(','),
      )
    }
    const svg = join(folder, 'curves.svg')
    expect(await succeed('compare', ...runs, '--svg', svg, '--text', 'brown:test', '--format', 'markdown')).toMatch(
      /^\| perplexity at \| magnitude \| random \|\n/,
    )
    expect(readFileSync(svg, 'utf8').match(/<circle/g)).toHaveLength(10)
  })

  it('refuses what cannot be compared, and files that are no picture of ours', async () => {
    const other = join(folder, 'other')
    await prune('random', other, '--dataset', 'embedded:test')
    const calibrations = await blockpruner(['compare', runs[0]!, other])
    expect(calibrations).toMatchObject({
      code: 1,
      stderr: expect.stringContaining('was calibrated on other rows than'),
    })
    const texts = await blockpruner(['compare', ...runs, '--text', 'wikitext2:test'])
    expect(texts).toMatchObject({
      code: 2,
      stderr: expect.stringContaining('not every run has a curve of the same rows'),
    })
    const thesis = join(folder, 'thesis.txt')
    writeFileSync(thesis, 'years of work')
    const picture = await blockpruner(['compare', ...runs, '--svg', thesis])
    expect(picture).toMatchObject({ code: 1, stderr: expect.stringContaining('is no picture') })
    expect(readFileSync(thesis, 'utf8')).toBe('years of work')
    await succeed('compare', ...runs, '--svg', thesis, '--force')
    expect(readFileSync(thesis, 'utf8')).toMatch(/^<svg/)
  })
})
