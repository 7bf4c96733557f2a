import { expect, it } from 'vitest'
import { cpuDevice } from '../../src/device/cpu.ts'
import { openLocalEngine } from '../../src/engine/localEngine.ts'
import { openMachine } from '../../src/engine/machine.ts'
import { foldRows } from '../../src/measures/foldRows.ts'
import type { RowMeasure } from '../../src/measures/machine.ts'
import { emptyPlan } from '../../src/model/plan.ts'
import * as ask from '../asked.ts'
import { openFixture } from '../model/openFixture.ts'

/** What a new measure is: this, and its line in the registry. The greatest |h| of each row's final states. */
const greatest: RowMeasure<{ readonly tokens: number }> = {
  unit: () => 'hidden units',
  journalName: ({ tokens }) => `greatest of ${tokens}`,
  measure: (machine, asked) =>
    foldRows(machine, asked, {
      values: async (_, { rows, options }, batch, hidden) =>
        Float64Array.from({ length: batch.rows }, (_, row) => {
          const start = row * rows.rowLength * machine.width
          const states = hidden.subarray(start, start + options.tokens * machine.width)
          return states.reduce((most, value) => Math.max(most, Math.abs(value)), 0)
        }),
    }),
}

it('a measure is one file: what it sees of the states is all that it says', async () => {
  const { model, rows } = await openFixture('tiny-random/llama')
  const device = cpuDevice({ threads: 1 })
  const machine = openMachine(model, { device })
  const engine = openLocalEngine(model, { threads: 1 })
  const plans = [emptyPlan, { blocks: [model.blocks[1]!.id], units: {} }]
  const seen: number[] = []
  const found = await greatest.measure(machine, {
    rows,
    plans,
    prefix: undefined,
    options: { tokens: 3 },
    signal: undefined,
    onRows: (plan) => seen.push(plan),
  })
  for (const [i, plan] of plans.entries()) {
    const states = await ask.hiddenStates(engine, rows, plan)
    const width = states.length / rows.rows / rows.rowLength
    for (let row = 0; row < rows.rows; row++) {
      const own = states.subarray(row * rows.rowLength * width, (row * rows.rowLength + 3) * width)
      expect(found[i]![row]).toBe(Math.max(...own.map(Math.abs)))
    }
  }
  expect(found[0]).not.toEqual(found[1])
  expect(seen.sort()).toEqual([0, 1])
  await Promise.all([engine.close(), device.close(), model.weights.close()])
})
