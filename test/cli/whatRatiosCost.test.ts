import { readFileSync } from 'node:fs'
import { expect, it } from 'vitest'
import { warningOfRatio, whatAFifthDid } from '../../src/cli/whatRatiosCost.ts'

const tables = readFileSync(new URL('../../docs/benchmarks.md', import.meta.url), 'utf8')

/** The last number, perplexity on untouched rows, in the row of the table of searches that begins with `name`. */
const untouched = (name: string) => {
  const table = tables.slice(tables.indexOf('## Searches and methods'))
  const row = table.split('\n').find((line) => line.startsWith(`| ${name} |`))!
  return Number(row.split('|').at(-2))
}

it('what a fifth did is what the benchmarks say', () => {
  const [dense, pruned] = [untouched('dense'), untouched('`fast`')].map(Math.round)
  expect(whatAFifthDid).toContain(`perplexity of ${dense} to ${pruned}:`)
})

it('is said of much of a small decoder, and of nothing else', () => {
  const small = { parameters: 135e6 }
  expect(warningOfRatio(small, 'nextToken', { ratio: 0.15 })).toMatch(/^a ratio of 0\.2 took SmolLM2-135M/)
  expect(warningOfRatio(small, 'nextToken', { ratio: 0.1 })).toBeUndefined()
  expect(warningOfRatio(small, 'nextToken', { remove: 20 })).toBeUndefined()
  expect(warningOfRatio(small, 'hiddenStates', { ratio: 0.2 })).toBeUndefined()
  expect(warningOfRatio({ parameters: 8e9 }, 'nextToken', { ratio: 0.2 })).toBeUndefined()
})
