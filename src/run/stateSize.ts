import { type Engine, measureOn } from '../measures/measurement.ts'
import type { Objective, TokenRows } from '../types.ts'

/**
 * The logarithm of the mean absolute value of the final hidden states: a number that any difference between two models moves, and
 * that needs no head and no dense model beside. A difference of two of them is a relative difference of the states' sizes.
 */
export function stateSizeObjective(engine: Engine, rows: TokenRows): Objective {
  return {
    unit: 'log of the mean absolute hidden state',
    async evaluate(plans) {
      const found = await measureOn(engine, rows, { plans, measure: { name: 'hiddenStates' } })
      return found.map((states) =>
        Math.log(states.reduce((total, value) => total + Math.abs(value), 0) / states.length),
      )
    },
  }
}
