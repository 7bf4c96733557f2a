import { mkdtempSync, readFileSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { beforeAll, describe, expect, it } from 'vitest'
import { blockpruner } from './commandLine.ts'

const folder = mkdtempSync(join(tmpdir(), 'inspect-'))
let plan: { dense: { check: { perplexity: number } } } & {
  model: object
  steps: { removed: string[]; check: { perplexity: number } }[]
}

let pruned: string

beforeAll(async () => {
  const size = ['--nsamples', '3', '--check-rows', '1', '--seqlen', '16', '--threads', '1']
  pruned = (await blockpruner(['prune', '--output', folder, '--remove', '1', '--no-export', ...size])).stdout
  plan = JSON.parse(readFileSync(join(folder, 'plan.json'), 'utf8'))
})

describe('the loss on check rows', () => {
  it('is shown by prune and inspect', async () => {
    const [dense, after] = [plan.dense.check, plan.steps[0]!.check].map(({ perplexity }) => perplexity.toFixed(3))
    expect(pruned).toMatch(new RegExp(`^perplexity, check rows +${dense} +${after}$`, 'm'))
    const { stdout } = await blockpruner(['inspect', folder])
    expect(stdout).toMatch(/^step +removed +perplexity +× dense +on check rows/m)
    expect(stdout).toContain(after)
    expect(stdout).toContain(`on the check rows ${dense}; losses`)
  })
})

describe('the strip of inspect', () => {
  it.each([30, 80])('shows %s layers in 80 columns, each once', async (layers) => {
    const steps = Array.from({ length: layers }, (_, i) => ({ ...plan.steps[0]!, removed: [`decoder.${i}.mlp`] }))
    const path = join(folder, 'long.json')
    writeFileSync(path, JSON.stringify({ ...plan, model: { ...plan.model, layers: { decoder: layers } }, steps }))
    const { stdout, code } = await blockpruner(['inspect', path])
    expect(code).toBe(0)
    const strip = stdout.split('\n').slice(stdout.split('\n').findIndex((line) => line.startsWith('layer ')))
    expect(Math.max(...strip.slice(0, -2).map(({ length }) => length))).toBeLessThanOrEqual(80)
    const numbers = strip.filter((line) => line.startsWith('layer ')).flatMap((line) => line.split(/\s+/).slice(1))
    expect(numbers).toEqual(Array.from({ length: layers }, (_, i) => `${i}`))
    const removed = strip.filter((line) => line.startsWith('decoder.mlp')).flatMap((line) => line.split(/\s+/).slice(1))
    expect(removed).toEqual(steps.map((_, i) => `${i + 1}`))
  })
})
