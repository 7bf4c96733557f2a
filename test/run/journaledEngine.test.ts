import { mkdtempSync, readFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, it } from 'vitest'
import type { Engine, Measurement } from '../../src/measures/measurement.ts'
import { emptyPlan, withoutBlock } from '../../src/model/plan.ts'
import { openJournal } from '../../src/run/journal.ts'
import { journaledEngine } from '../../src/run/journaledEngine.ts'

/** Answers with the number of blocks a plan removes, and remembers what it was asked. */
function countingEngine() {
  const asked: Measurement[] = []
  const engine: Engine = {
    put: async () => 'rows',
    async measure(what, how) {
      asked.push(what as unknown as Measurement)
      const results = what.plans.map(({ blocks }) => Float64Array.of(blocks.length, 0.1))
      for (const [plan, values] of results.entries()) how?.onRows?.(plan, values)
      return results as never
    },
    close: async () => {},
  }
  return { engine, asked }
}

const path = () => join(mkdtempSync(join(tmpdir(), 'journaled-')), 'journal.jsonl')
const one = withoutBlock(emptyPlan, 'decoder.0.mlp')
const tokenLoss = { name: 'tokenLoss' } as const

it('asks the engine for nothing twice, neither in a run nor in the one that resumes it', async () => {
  const file = path()
  const first = countingEngine()
  const journal = openJournal(file, {})
  const engine = journaledEngine(first.engine, journal)
  await engine.measure({ rows: 'a', plans: [emptyPlan], measure: tokenLoss })
  await engine.measure({ rows: 'a', plans: [one, emptyPlan], prefix: emptyPlan, measure: tokenLoss })
  expect(first.asked.map(({ plans }) => plans)).toEqual([[emptyPlan], [one]])
  journal.close()
  const second = countingEngine()
  const again = openJournal(file, {})
  expect(again.recalled).toBe(2)
  const seen: unknown[] = []
  const found = await journaledEngine(second.engine, again).measure(
    { rows: 'a', plans: [one, emptyPlan], measure: tokenLoss },
    { onRows: (plan, values, recalled) => seen.push([plan, values[0], recalled]) },
  )
  expect(found).toEqual([Float64Array.of(1, 0.1), Float64Array.of(0, 0.1)])
  expect(seen).toEqual([
    [0, 1, true],
    [1, 0, true],
  ])
  expect(second.asked).toEqual([])
  again.close()
})

it('tells rows, ranges and options of the measure apart', async () => {
  const { engine, asked } = countingEngine()
  const journal = openJournal(path(), {})
  const journaled = journaledEngine(engine, journal)
  const plans = [emptyPlan]
  await journaled.measure({ rows: 'a', plans, measure: tokenLoss })
  await journaled.measure({ rows: 'b', plans, measure: tokenLoss })
  await journaled.measure({ rows: 'a', range: [0, 1], plans, measure: tokenLoss })
  await journaled.measure({ rows: 'a', plans, measure: { ...tokenLoss, ignored: 3 } })
  await journaled.measure({ rows: 'a', plans, measure: { ...tokenLoss, ignored: undefined } })
  expect(asked).toHaveLength(4)
  journal.close()
})

it('has what was measured on disk before anybody hears of it', async () => {
  const file = path()
  const journal = openJournal(file, {})
  const lines: number[] = []
  await journaledEngine(countingEngine().engine, journal).measure(
    { rows: 'a', plans: [emptyPlan, one], measure: tokenLoss },
    { onRows: () => lines.push(readFileSync(file, 'utf8').trimEnd().split('\n').length) },
  )
  expect(lines).toEqual([2, 3])
  expect(JSON.parse(readFileSync(file, 'utf8').split('\n')[2]!)).toEqual({
    measure: { name: 'tokenLoss' },
    rows: 'a',
    blocks: ['decoder.0.mlp'],
    values: [1, 0.1],
  })
  journal.close()
})

it('measures anew what is no number a row', async () => {
  const { engine, asked } = countingEngine()
  const journal = openJournal(path(), {})
  const journaled = journaledEngine(engine, journal)
  for (let i = 0; i < 2; i++) await journaled.measure({ rows: 'a', plans: [one], measure: { name: 'logits' } })
  expect(asked).toHaveLength(2)
  journal.close()
})
