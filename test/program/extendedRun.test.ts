import { mkdtempSync, readFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { pruneAny } from '../../src/run/pruneModel.ts'
import type { AnyPruneRequest } from '../../src/run/pruneRequest.ts'
import { blockpruner } from './commandLine.ts'

const newFolder = () => mkdtempSync(join(tmpdir(), 'extended-'))
const planIn = (folder: string) => readFileSync(join(folder, 'plan.json'), 'utf8')

/** Runs on the embedded model; `evaluated` counts what was not in the journal. */
async function run(output: string, given: Partial<AnyPruneRequest>) {
  let evaluated = 0
  const { file } = await pruneAny({
    model: 'embedded',
    output,
    calibration: { dataset: 'embedded', nsamples: 2, seqlen: 16, seed: 1 },
    seed: 1,
    export: false,
    ...given,
    onProgress(progress) {
      if (progress.type === 'evaluated' && !progress.recalled) evaluated += 1
      given.onProgress?.(progress)
    },
  })
  return { file, evaluated }
}

describe('a run that is asked for more in the same folder', () => {
  it.each([
    ['fast', { searching: { search: 'fast' } }],
    ['exact', { searching: { search: 'exact', checkRows: 1 } }],
    ['swap', { searching: { search: 'swap', patience: 2 } }],
    ['shortgpt', { method: 'shortgpt' }],
  ] as const)('by %s goes on from what it knows, and ends as one that was asked at once', async (_, given) => {
    const [extended, atOnce] = [newFolder(), newFolder()]
    const first = await run(extended, { ...given, budget: { remove: 2 } })
    const more = await run(extended, { ...given, budget: { ratio: 0.15 } })
    const whole = await run(atOnce, { ...given, budget: { ratio: 0.15 } })
    expect(planIn(extended)).toBe(planIn(atOnce))
    expect(more.evaluated).toBeLessThan(whole.evaluated)
    expect(more.evaluated).toBeGreaterThan(0)
    if (given !== undefined && 'method' in given) expect(more.file.steps[0]).toEqual(first.file.steps[0])
  })

  it('keeps the plan it has until it knows more, and takes less as well', async () => {
    const folder = newFolder()
    const searching = { search: 'exact' }
    await run(folder, { searching, budget: { remove: 3 } })
    const before = planIn(folder)
    const seen: string[] = []
    const stop = new AbortController()
    const interrupted = run(folder, {
      searching,
      budget: { remove: 5 },
      signal: stop.signal,
      onProgress(progress) {
        if (progress.type !== 'step') return
        seen.push(planIn(folder))
        if (progress.number === 3) stop.abort()
      },
    })
    await expect(interrupted).rejects.toThrow()
    expect(seen).toEqual([before, before, before])
    const { file, evaluated } = await run(folder, { searching, budget: { remove: 1 } })
    expect(file.plan.blocks).toEqual(JSON.parse(before).plan.blocks.slice(0, 1))
    expect(evaluated).toBe(0)
  })

  it('killed in the middle of the extension keeps its plan, and ends with the same bytes', async () => {
    const [extended, atOnce] = [newFolder(), newFolder()]
    const size = ['--nsamples', '2', '--seqlen', '32', '--threads', '1', '--no-export', '--json', '--search', 'exact']
    const ask = (output: string, remove: number) => ['prune', '--output', output, '--remove', `${remove}`, ...size]
    const evaluations = () => readFileSync(join(extended, 'journal.jsonl'), 'utf8').split('\n').length
    expect(await blockpruner(ask(extended, 2))).toMatchObject({ code: 0 })
    const [before, known] = [planIn(extended), evaluations()]
    const killed = await blockpruner(ask(extended, 6), (kill) => {
      const watch = setInterval(() => {
        if (evaluations() < known + 5) return
        clearInterval(watch)
        kill('SIGKILL')
      }, 2)
    })
    expect(killed.signal).toBe('SIGKILL')
    const middle = evaluations()
    expect(JSON.parse(planIn(extended)).steps.slice(0, 2)).toEqual(JSON.parse(before).steps)
    const again = await blockpruner(ask(extended, 6))
    expect(again.code, again.stderr).toBe(0)
    expect(await blockpruner(ask(atOnce, 6))).toMatchObject({ code: 0 })
    expect(planIn(extended)).toBe(planIn(atOnce))
    const lines = (folder: string) => readFileSync(join(folder, 'journal.jsonl'), 'utf8').trimEnd().split('\n').slice(1)
    expect(lines(extended).toSorted()).toEqual(lines(atOnce).toSorted())
    expect(lines(extended).length).toBeGreaterThan(middle)
  }, 120_000)

  it('is still refused where anything else differs', async () => {
    const folder = newFolder()
    await run(folder, { budget: { remove: 1 } })
    await expect(run(folder, { budget: { remove: 2 }, kinds: ['mlp'] })).rejects.toThrow(
      /belongs to a run with other inputs: options.kinds/,
    )
  })
})

describe('a ratio that no step meets', () => {
  it('is gone beyond, kept to, or met as nearly as can be', async () => {
    const folder = newFolder()
    const at = async (ratio: number, ratioRule?: 'at-least' | 'nearest' | 'at-most') =>
      (await run(folder, { searching: { search: 'exact' }, budget: { ratio, ratioRule } })).file.steps.map(
        (s) => s.ratio,
      )
    const [first, second] = (await at(0.08)) as [number, number]
    const near = second - (second - first) / 4
    expect(await at(near)).toEqual([first, second])
    expect(await at(near, 'at-most')).toEqual([first])
    expect(await at(near, 'nearest')).toEqual([first, second])
    expect(await at(first + (second - first) / 4, 'nearest')).toEqual([first])
    expect(await at(second, 'at-most')).toEqual([first, second])
    await expect(at(first / 2, 'at-most')).rejects.toThrow(/--ratio-rule at-most: nothing can be removed/)
  })

  it('is no matter for loops that keep to it by themselves', async () => {
    const budget = { ratio: 0.1, ratioRule: 'nearest' } as const
    await expect(run(newFolder(), { searching: { search: 'beam' }, budget })).rejects.toThrow(
      '--ratio-rule nearest: beam keeps to at least the ratio by itself',
    )
    await expect(run(newFolder(), { budget: { ratio: 0.1, ratioRule: 'about' as never } })).rejects.toThrow(
      '--ratio-rule about: expected one of at-least, nearest, at-most',
    )
  })
})
