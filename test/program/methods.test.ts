import { mkdtempSync, readFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { PlanError } from '../../src/errors.ts'
import { flagNameOf, type MethodOptions } from '../../src/methods/options.ts'
import { methodNamed, methods, searches } from '../../src/methods/registry.ts'
import { readPlanFile } from '../../src/run/planFile.ts'
import { pruneAny } from '../../src/run/pruneModel.ts'
import type { PruneProgress } from '../../src/run/pruneRequest.ts'
import { expectError } from '../measured.ts'
import { blockpruner } from './commandLine.ts'

const newFolder = () => mkdtempSync(join(tmpdir(), 'methods-'))

function run(method: string, output: string, given: MethodOptions = {}, watch: (p: PruneProgress) => void = () => {}) {
  const stop = new AbortController()
  const aborting = (progress: PruneProgress) => {
    try {
      watch(progress)
    } catch {
      stop.abort()
    }
  }
  return pruneAny({
    model: 'embedded',
    output,
    method,
    methodOptions: given,
    kinds: ['attention', 'mlp'],
    budget: { remove: 4 },
    calibration: { dataset: 'embedded', nsamples: 2, seqlen: 16, seed: 1 },
    seed: 5,
    export: false,
    signal: stop.signal,
    onProgress: aborting,
  })
}

/** Options with which a method that searches is done in a moment. */
const quick: Readonly<Record<string, MethodOptions>> = {
  'policy-gradient': { units: 'blocks', steps: 6, interval: 2, 'batch-rows': 1 },
}

/** Methods whose choices the options change most, besides every method with its defaults. */
const cases: readonly (readonly [string, MethodOptions])[] = [
  ...methods
    .filter(({ name, removesAll }) => name !== 'flap' && !removesAll)
    .map(({ name }) => [name, quick[name] ?? {}] as const),
  ['finercut', { distance: 'js_reversed', order: 'names', freeze: 0.2 }],
  ['shortened-llama', { criterion: 'magnitude', plus: false }],
  ['shortgpt', { unit: 'block' }],
  ['random', { unit: 'layer' }],
]

describe('every method on the embedded model', () => {
  it.each(cases)('%s %j reaches the budget, and goes on after a stop with the same bytes', async (method, given) => {
    const [whole, stopped] = [newFolder(), newFolder()]
    const { file } = await run(method, whole, given)
    expect(file.complete).toBe(true)
    expect(file.method).toBe(method)
    expect(file.options).toMatchObject(given)
    expect(file.plan.blocks.length + Object.keys(file.plan.units).length).toBeGreaterThanOrEqual(4)
    expect(Number.isFinite(file.steps.at(-1)!.loss)).toBe(true)
    expect(await readPlanFile(join(whole, 'plan.json'))).toEqual(JSON.parse(JSON.stringify(file)))

    let evaluated = 0
    const interrupted = run(method, stopped, given, ({ type }) => {
      if (type === 'evaluated') evaluated += 1
      if (evaluated === 3) throw new Error('enough')
    })
    await interrupted.catch((error: Error) => expect(error.name).toBe('AbortError'))
    await run(method, stopped, given)
    expect(readFileSync(join(stopped, 'plan.json'), 'utf8')).toBe(readFileSync(join(whole, 'plan.json'), 'utf8'))
  })

  it.each([
    ['policy-gradient', { steps: 4, interval: 2, 'batch-rows': 1 }],
    [
      'policy-gradient',
      { steps: 2, units: 'channels+heads+layers', budgets: 'one', estimator: 'plain', init: 'constant' },
    ],
    ['flap', {}],
  ] as const)('%s %j cuts widths to a share of the parameters, and exports a smaller model', async (method, given) => {
    const folder = newFolder()
    const { file, export: written } = await pruneAny({
      ...request(folder),
      method,
      methodOptions: given,
      budget: { ratio: 0.1 },
      export: true,
      // our reader takes back from both what the method added to the weights
      formats: method === 'flap' ? ['huggingface', 'gguf'] : ['huggingface'],
    })
    const last = file.steps.at(-1)!
    expect(last.ratio).toBeGreaterThanOrEqual(0.1)
    expect(last.ratio).toBeLessThan(0.13)
    expect(Object.keys(file.plan.units).length).toBeGreaterThan(0)
    expectError(written!.difference, 0)
  })

  it('says before any work that a method cannot reach the budget', async () => {
    const layers = { ...request(newFolder()), budget: { remove: 13 } }
    await expect(pruneAny({ ...layers, method: 'shortened-llama' })).rejects.toThrow(
      /--remove 13: shortened-llama with these options can remove at most 12 of the 24 blocks/,
    )
    await expect(pruneAny({ ...layers, method: 'sleb', kinds: ['mlp'], budget: { remove: 2 } })).rejects.toThrow(
      PlanError,
    )
    await expect(pruneAny({ ...layers, method: 'finer' })).rejects.toThrow(/did you mean finercut\?/)
  })
})

function request(output: string) {
  return {
    model: 'embedded',
    output,
    kinds: ['attention', 'mlp'] as const,
    calibration: { dataset: 'embedded', nsamples: 1, seqlen: 16, seed: 1 },
    seed: 5,
    export: false,
  }
}

describe('the command line', () => {
  it('lists every method and search with its paper, and the options of each under its name', async () => {
    const { code, stdout } = await blockpruner(['methods'])
    expect(code).toBe(0)
    for (const { name, paper = '' } of [...methods, ...searches]) {
      expect(stdout).toContain(name)
      expect(stdout).toContain(paper)
    }
    for (const name of ['finercut', 'evolve'] as const) {
      const own = await blockpruner(['methods', name])
      const options = Object.keys(methodNamed(name).options)
      expect(options.length).toBeGreaterThan(1)
      for (const option of options) expect(own.stdout).toContain(`--${flagNameOf(option)} `)
    }
    const listed = JSON.parse((await blockpruner(['methods', '--json'])).stdout)
    const names = listed.map(({ name }: { name: string }) => name)
    expect(names.toSorted()).toEqual([...methods, ...searches].map(({ name }) => name).toSorted())
  })

  it('takes options of methods as flags and records them, and refuses wrong ones', async () => {
    const folder = newFolder()
    const small = ['--nsamples', '1', '--seqlen', '16', '--remove', '2', '--quiet', '--no-export', '--output', folder]
    expect((await blockpruner(['prune', '--method', 'finercut-', ...small])).code).toBe(2)
    expect((await blockpruner(['prune', '--method', 'finercut', '--distance', 'x', ...small])).code).toBe(2)
    const foreign = await blockpruner(['prune', '--method', 'sleb', '--distance', 'js', ...small])
    expect(foreign.code).toBe(2)
    expect(foreign.stderr).toContain('--distance: is not an option of sleb')
    const args = ['--method', 'shortened-llama', '--no-plus', '--criterion', 'magnitude']
    expect(await blockpruner(['prune', ...args, ...small])).toMatchObject({ code: 0 })
    const file = await readPlanFile(join(folder, 'plan.json'))
    expect(file).toMatchObject({ method: 'shortened-llama', options: { criterion: 'magnitude', plus: false } })
    expect(file.steps[0]!.removed).toHaveLength(2)
  }, 60_000)
})
