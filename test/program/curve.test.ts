import { mkdtempSync, readdirSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { beforeAll, describe, expect, it } from 'vitest'
import { readCurveFile } from '../../src/run/curveFile.ts'
import { blockpruner } from './commandLine.ts'

const folder = mkdtempSync(join(tmpdir(), 'curve-'))
const size = ['--nsamples', '3', '--seqlen', '32', '--threads', '1']
let pruned: { evaluation: { dense: object } }

async function succeed(...args: string[]): Promise<string> {
  const finished = await blockpruner(args)
  expect(finished.code, finished.stderr).toBe(0)
  return finished.stdout
}

beforeAll(async () => {
  const evaluation = ['--eval-dataset', 'embedded:test', '--eval-seqlen', '16', '--eval-nsamples', '5']
  const options = ['--remove', '3', '--no-export', '--json', ...evaluation, ...size]
  pruned = JSON.parse(await succeed('prune', '--output', folder, '--method', 'random', ...options))
})

describe('the evaluation text of prune', () => {
  it('has rows of its own', () => {
    expect(pruned.evaluation.dense).toMatchObject({ rows: 5, rowLength: 16 })
  })
})

describe('evaluate --curve', () => {
  it('measures every step as evaluate --steps does, prints them and writes them beside the plan', async () => {
    const stdout = await succeed('evaluate', '--plan', folder, '--curve', ...size)
    expect(readdirSync(folder)).toContain('curve-brown-test.json')
    const curve = await readCurveFile(join(folder, 'curve-brown-test.json'))
    expect(curve).toMatchObject({ method: 'random', task: 'nextToken', text: { source: 'brown:test', rows: 3 } })
    expect(curve.points.map(({ step }) => step)).toEqual([0, 1, 2, 3])
    for (const step of [1, 3]) {
      const steps = ['--plan', folder, '--steps', `${step}`]
      const single = JSON.parse(await succeed('evaluate', ...steps, '--json', ...size))
      const { perplexity, standardError, parameters } = curve.points[step]!
      expect(perplexity).toBeCloseTo(single.pruned.sequenceMean, 6)
      expect(standardError).toBeCloseTo(single.pruned.standardError, 6)
      expect(parameters).toBe(single.parameters.pruned)
      expect(stdout).toContain(perplexity!.toFixed(3))
      expect(curve.points[0]!.perplexity).toBeCloseTo(single.dense.sequenceMean, 6)
    }
  })

  it('needs a plan that keeps its steps', async () => {
    const without = await blockpruner(['evaluate', '--curve', ...size])
    expect(without).toMatchObject({ code: 2, stderr: expect.stringContaining('--curve: measures the steps of a plan') })
    const output = join(folder, 'units')
    await succeed('prune', '--output', output, '--method', 'flap', '--ratio', '0.1', '--no-export', ...size)
    const units = await blockpruner(['evaluate', '--plan', output, '--curve', ...size])
    expect(units).toMatchObject({ code: 2, stderr: expect.stringContaining('evaluate it without --curve') })
  })
})
