import { mkdtempSync, readFileSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { beforeAll, describe, expect, it } from 'vitest'
import { blockpruner } from './commandLine.ts'

const folder = mkdtempSync(join(tmpdir(), 'plans-'))
const run = join(folder, 'run')
const hand = join(folder, 'hand.json')
const size = ['--nsamples', '2', '--seqlen', '32', '--threads', '1']
let pruned: string

async function succeed(...args: string[]): Promise<string> {
  const finished = await blockpruner(args)
  expect(finished.code, finished.stderr).toBe(0)
  return finished.stdout
}

beforeAll(async () => {
  pruned = await succeed('prune', '--output', run, '--remove', '1', '--no-export', ...size)
  const [id] = (JSON.parse(readFileSync(join(run, 'plan.json'), 'utf8')) as { plan: { blocks: string[] } }).plan.blocks
  writeFileSync(hand, JSON.stringify({ blocks: [id] }))
})

describe('a plan', () => {
  it('of one block removed 1 block', () => {
    expect(pruned).toMatch(/^removed 1 block, /m)
  })

  it('is found in the folder of its run, and written by hand measures the same', async () => {
    const measured = async (plan: string) => {
      const { heldOut: _, ...rest } = JSON.parse(await succeed('evaluate', '--plan', plan, '--json', ...size))
      return rest
    }
    const ofRun = await measured(run)
    expect(ofRun.parameters.pruned).toBeLessThan(ofRun.parameters.dense)
    expect(await measured(join(run, 'plan.json'))).toEqual(ofRun)
    expect(await measured(hand)).toEqual(ofRun)
  })

  it('given twice is refused', async () => {
    const { code, stderr } = await blockpruner(['evaluate', '--plan', hand, '--plan', run, ...size])
    expect(code).toBe(2)
    expect(stderr).toContain("option '--plan' is given twice; give it once")
  })

  it('is applied with what it cost in the card, where the plan says that, and verified', async () => {
    const [ofRun, ofHand] = [join(folder, 'model'), join(folder, 'hand')]
    const options = ['--no-verify', '--threads', '1']
    await succeed('apply', '--plan', run, '--output', ofRun, ...options)
    await succeed('apply', '--plan', hand, '--output', ofHand, ...options)
    const file = JSON.parse(readFileSync(join(run, 'plan.json'), 'utf8'))
    const card = readFileSync(join(ofRun, 'README.md'), 'utf8')
    const [dense, after] = [file.dense.perplexity, file.steps[0].perplexity].map((value) => value.toFixed(3))
    expect(card).toContain(`| perplexity, brown:train (the calibration text itself) | ${dense} | ${after} |`)
    expect(card).not.toContain('not measured')
    expect(readFileSync(join(ofHand, 'README.md'), 'utf8')).toContain('(blocks chosen by hand)')
    expect(await succeed('verify', ofHand, '--plan', hand, '--threads', '1')).toMatch(/agrees/)
  })
})
