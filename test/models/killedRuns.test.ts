import { describe, expect, it } from 'vitest'
import { methods } from '../../src/methods/registry.ts'
import { expectEqualRuns, killedRun } from '../program/killedRun.ts'

const small = ['--nsamples', '4', '--seqlen', '64', '--quiet', '--no-export']

/** Methods with more to do than one pass, or a budget of their own. */
const given: Readonly<Record<string, readonly string[]>> = {
  'policy-gradient': ['--steps', '12', '--interval', '2', '--batch-rows', '2', '--ratio', '0.15'],
  flap: ['--ratio', '0.15'],
  // every step tries all blocks
  blockpruner: ['--remove', '2'],
  finercut: ['--top-k', '64', '--remove', '2'],
}
const ofMethod = (name: string) => ['--method', name, ...(given[name] ?? ['--remove', '4'])]

const searches = [
  ['--search', 'fast', '--remove', '6'],
  ['--search', 'beam', '--beam-width', '2', '--remove', '3'],
  ['--search', 'swap', '--remove', '2'],
  ['--search', 'evolve', '--generations', '4', '--remove', '4'],
  ['--search', 'fast', '--layout', 'stock', '--remove', '4'],
  ['--objective', 'perplexity,js', '--remove', '2'],
]

describe('killed at a random moment and started again, a run ends with the bytes of one left alone', () => {
  let [kills, runs] = [0, 0]
  it.each(
    [...methods.filter(({ removesAll }) => !removesAll).map(({ name }) => ofMethod(name)), ...searches].map(
      (args) => [args.join(' '), args] as const,
    ),
  )('%s', async (_, args) => {
    runs += 1
    const found = await killedRun([...small, ...args], { attempts: 1, seed: runs })
    kills += found.kills
    expectEqualRuns(found.whole, found.killed)
  })

  it('and most of them were killed before their end', () => {
    process.stderr.write(`${kills} of ${runs} runs were killed before their end\n`)
    expect(kills).toBeGreaterThan(runs / 2)
  })
})
