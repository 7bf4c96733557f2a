import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { openLocalEngine } from '../../src/engine/localEngine.ts'
import { loadModel } from '../../src/model/load.ts'
import { emptyPlan } from '../../src/model/plan.ts'
import { isReached } from '../../src/run/budget.ts'
import { openJournal } from '../../src/run/journal.ts'
import { foretoldSpeedup, measureParts, secondsOf, type Timer } from '../../src/run/latency.ts'
import { pruneAny } from '../../src/run/pruneModel.ts'
import type { PruningPlan } from '../../src/types.ts'
import * as ask from '../asked.ts'
import { blockpruner } from './commandLine.ts'

const model = await loadModel('embedded')
const newFolder = () => mkdtempSync(join(tmpdir(), 'latency-'))
const width = model.sizes['F']!

/** 2 s outside the blocks, 1 s an attention of all heads, 4 s an mlp of all channels, in proportion for narrower ones. */
function fakeTimer() {
  const asked: (readonly PruningPlan[])[] = []
  const timer: Timer = async (plans) => {
    asked.push(plans)
    return plans.map((plan) => {
      const seconds = model.blocks.map(({ id, kind, units }) => {
        if (plan.blocks.includes(id)) return 0
        return ((units - (plan.units[id]?.length ?? 0)) / units) * (kind === 'mlp' ? 4 : 1)
      })
      return Float64Array.of(2, ...seconds)
    })
  }
  return { timer, asked }
}
const dense = 2 + 12 * 5

describe('the seconds of the parts', () => {
  const parts = async (narrow: boolean) => {
    const journal = openJournal(join(newFolder(), 'journal.jsonl'), {})
    return measureParts(model, fakeTimer().timer, journal, { narrow })
  }

  it('foretell the speed of whatever blocks go', async () => {
    const measured = await parts(false)
    expect(secondsOf(model, measured, emptyPlan)).toBeCloseTo(dense, 9)
    const plan: PruningPlan = { blocks: ['decoder.3.mlp', 'decoder.0.attention'], units: {} }
    expect(foretoldSpeedup(model, measured, plan)).toBeCloseTo(dense / (dense - 5), 9)
    expect(isReached(model, plan, { speedup: dense / (dense - 4.9) }, measured)).toBe(true)
    expect(isReached(model, plan, { speedup: dense / (dense - 5.1) }, measured)).toBe(false)
  })

  it('charge a width as the next that kernels take whole, on the line between those timed', async () => {
    const measured = await parts(true)
    const without = (channels: number): PruningPlan => ({
      blocks: [],
      units: { 'decoder.1.mlp': Array.from({ length: channels }, (_, i) => i) },
    })
    const saved = (channels: number) => dense - secondsOf(model, measured, without(channels))
    expect(saved(31)).toBeCloseTo(0, 9)
    for (const channels of [32, 64, 160]) expect(saved(channels)).toBeCloseTo((4 * channels) / width, 9)
    expect(saved(width)).toBeCloseTo(4, 9)
    const head: PruningPlan = { blocks: [], units: { 'decoder.1.attention': [0] } }
    expect(dense - secondsOf(model, measured, head)).toBeCloseTo(1 / model.sizes['K']!, 9)
  })

  it('never rise as a block gets narrower', async () => {
    const journal = openJournal(join(newFolder(), 'journal.jsonl'), {})
    const { timer } = fakeTimer()
    const odd: Timer = async (plans) =>
      (await timer(plans)).map((seconds, i) => (i === 3 ? seconds.map((value) => value * 9) : seconds))
    const { blocks } = await measureParts(model, odd, journal, { narrow: true })
    for (const curve of blocks.values()) {
      const seconds = curve.map(([, value]) => value)
      expect(seconds).toEqual(seconds.toSorted((a, b) => a - b))
    }
  })
})

describe('a budget of speed', () => {
  const prune = (output: string, timer: Timer | undefined, speedup: number, method = 'blockpruner') =>
    pruneAny({
      model: 'embedded',
      output,
      kinds: ['attention', 'mlp'],
      method,
      budget: { speedup },
      calibration: { dataset: 'embedded', nsamples: 1, seqlen: 32, seed: 1 },
      seed: 1,
      export: false,
      ...(timer && { timer }),
    })

  it.each(['blockpruner', 'sleb', 'flap'])('is kept by %s and reported with what was measured after', async (name) => {
    const { timer, asked } = fakeTimer()
    const { file } = await prune(newFolder(), timer, 1.3, name)
    const { latency, plan, steps } = file
    expect(latency).toMatchObject({ rows: 1, rowLength: 32, seconds: { dense } })
    expect(latency!.foretold).toBeGreaterThanOrEqual(1.3)
    expect(asked).toHaveLength(2)
    expect(asked[1]).toEqual([emptyPlan, { blocks: plan.blocks, units: plan.units }])
    if (name !== 'flap') {
      expect(latency!.measured).toBeCloseTo(latency!.foretold, 9)
      const before: PruningPlan = { blocks: steps.slice(0, -1).flatMap(({ removed }) => removed), units: {} }
      const [seconds] = await timer([before])
      expect(dense / seconds!.reduce((total, value) => total + value, 0)).toBeLessThan(1.3)
    }
  })

  it('is held to what the run measured when it began, so that the same journal gives the same plan', async () => {
    const folder = newFolder()
    const { timer } = fakeTimer()
    await prune(folder, timer, 1.3)
    const plan = readFileSync(join(folder, 'plan.json'), 'utf8')
    rmSync(join(folder, 'plan.json'))
    const broken: Timer = () => Promise.reject(new Error('the clock was asked again'))
    await prune(folder, broken, 1.3)
    expect(readFileSync(join(folder, 'plan.json'), 'utf8')).toBe(plan)
  })

  it('that is none, or more than removing everything gives, is an error before the search', async () => {
    const { timer, asked } = fakeTimer()
    await expect(prune(newFolder(), timer, 1)).rejects.toThrow(/^--speedup 1: expected more than 1/)
    await expect(prune(newFolder(), timer, Number.NaN)).rejects.toThrow(/^--speedup NaN/)
    expect(asked).toHaveLength(0)
    await expect(prune(newFolder(), timer, 32)).rejects.toThrow(/--speedup 32: .* is 31\.00 times as fast here/)
    // the first and the last layer stay
    await expect(prune(newFolder(), timer, 6, 'sleb')).rejects.toThrow(/20 blocks that the method may remove .* 5\.17 /)
  })

  it('is measured by the clock of this machine, and said on the command line', async () => {
    const folder = newFolder()
    const args = ['prune', '--speedup', '1.05', '--nsamples', '1', '--seqlen', '32', '--no-export', '--output', folder]
    const { code, stdout, stderr } = await blockpruner(args)
    expect(code).toBe(0)
    expect(stderr).toMatch(/timed: a pass takes [\d.e-]+ s; without all that may go it is [\d.]+ times as fast/)
    expect(stdout).toMatch(/speed: [\d.]+ x, asked for 1\.05, foretold [\d.]+; a pass over 1 x 32 tokens takes/)
    const two = await blockpruner([...args, '--ratio', '0.1'])
    expect(two).toMatchObject({ code: 2, stderr: expect.stringContaining("'--speedup <x>' cannot be used with") })
  }, 60_000)
})

describe('the clock', () => {
  it('counts only the blocks that run, each for itself', async () => {
    const engine = openLocalEngine(model, { threads: 1 })
    const rows = { ids: Int32Array.from({ length: 16 }, (_, i) => i + 5), rows: 1, rowLength: 16 }
    const plan: PruningPlan = { blocks: ['decoder.2.mlp'], units: { 'decoder.3.mlp': [0, 1] } }
    const [whole, pruned] = await ask.passSeconds(engine, rows, [emptyPlan, plan], { repeats: 2 })
    expect(whole).toHaveLength(1 + model.blocks.length)
    expect(whole!.every((seconds) => seconds > 0)).toBe(true)
    const idle = model.blocks.filter((_, i) => pruned![i + 1] === 0).map(({ id }) => id)
    expect(idle).toEqual(['decoder.2.mlp'])
    await engine.close()
  })
})
