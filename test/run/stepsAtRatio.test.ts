import { expect, test } from 'vitest'
import { PlanError } from '../../src/errors.ts'
import type { PlanStep } from '../../src/run/planFile.ts'
import { stepsAtRatio } from '../../src/run/stepsAtRatio.ts'

const file = { steps: [0.1, 0.16, 0.24].map((ratio) => ({ ratio })) as unknown as PlanStep[] }

test.each([
  [0, 0, 0, 0],
  [0.04, 0, 1, 0],
  [0.1, 1, 1, 1],
  [0.15, 2, 2, 1],
  [0.19, 2, 3, 2],
  [0.24, 3, 3, 3],
])('a share of %d is nearest to %i steps, at least that of %i, at most that of %i', (ratio, near, least, most) => {
  const found = (['nearest', 'at-least', 'at-most'] as const).map((rule) => stepsAtRatio(file, ratio, rule))
  expect(found).toEqual([near, least, most])
})

test('a share beyond the last step is refused where it is asked for at least, and one beyond everything always', () => {
  expect(() => stepsAtRatio(file, 0.3, 'at-least')).toThrow(/the 3 steps of the plan remove at most 0\.240/)
  expect(stepsAtRatio(file, 0.3, 'nearest')).toBe(3)
  expect(() => stepsAtRatio(file, 1, 'nearest')).toThrow(PlanError)
})
