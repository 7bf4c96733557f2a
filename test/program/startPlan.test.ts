import { mkdtempSync, readFileSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { beforeAll, describe, expect, it } from 'vitest'
import { loadModel } from '../../src/model/load.ts'
import { removedParameters } from '../../src/model/plan.ts'
import { blockpruner } from './commandLine.ts'

const small = ['--nsamples', '4', '--seqlen', '16', '--quiet', '--no-export', '--threads', '1', '--continuations', '0']
const folder = mkdtempSync(join(tmpdir(), 'start-plan-'))
const run = (name: string, args: readonly string[]) =>
  blockpruner(['prune', '--output', join(folder, name), ...small, ...args])
const plan = (name: string) => JSON.parse(readFileSync(join(folder, name, 'plan.json'), 'utf8'))
const begun = join(folder, 'random', 'plan.json')

beforeAll(async () => {
  expect(await run('random', ['--method', 'random', '--remove', '3'])).toMatchObject({ code: 0 })
})

describe.each([
  ['swap', '--patience', '8'],
  ['evolve', '--generations', '3'],
])('%s --start plan.json', (search, ...options) => {
  it('begins with the plan, lets its blocks come back, and is never worse, nor larger', async () => {
    const done = await run(search, ['--search', search, '--start', begun, ...options])
    expect(done.code, done.stderr).toBe(0)
    const [start, end] = [plan('random'), plan(search)]
    expect(end.steps[0].removed).toEqual(start.plan.blocks)
    expect(end.steps[0].loss).toBe(start.steps.at(-1).loss)
    const losses = end.steps.map(({ loss }: { loss: number }) => loss)
    expect(losses).toEqual(losses.toSorted((a: number, b: number) => b - a))
    // a random plan is easily improved: measured, both searches do
    expect(end.steps.length).toBeGreaterThan(1)
    expect(end.steps.slice(1).flatMap(({ restored }: { restored: string[] }) => restored)).toContainEqual(
      expect.stringMatching(start.plan.blocks.join('|')),
    )
    const model = await loadModel('embedded')
    expect(removedParameters(model, end.plan)).toBeGreaterThanOrEqual(removedParameters(model, start.plan))
    await model.weights.close()
    // the path is nobody's business
    expect(end.options.start).toMatch(/^plan [0-9a-f]{16}$/)
  }, 120_000)
})

describe('a plan that cannot be improved', () => {
  it.each([
    [['--remove', '9'], /--remove 9: the plan of --start removes 3 blocks, .*expected at least the budget/],
    [['--speedup', '1.1'], /--speedup 1.1: is timed after --start was read/],
    [['--keep-first', '6'], /its plan removes decoder\.\d+\.\w+, which is to stay/],
    [['--layout', 'stock'], /--start .*is not for --layout stock/],
  ])('with %j is refused before a search', async (args, message) => {
    const { code, stderr } = await run(`refused${args[0]}`, ['--search', 'swap', '--start', begun, ...args])
    expect(stderr).toMatch(message)
    expect(code).toBe(2)
  })

  it('is one that is not there, that removes nothing, or a name that is none', async () => {
    const nothing = join(folder, 'nothing.json')
    writeFileSync(nothing, JSON.stringify({ blocks: [] }))
    for (const [start, message] of [
      [nothing, /removes nothing/],
      [join(folder, 'absent.json'), /absent\.json/],
      ['fats', /did you mean fast/],
    ] as const) {
      const { code, stderr } = await run('refused', ['--search', 'swap', '--start', start])
      expect(stderr).toMatch(message)
      expect(code).toBeGreaterThan(0)
    }
  })
})
