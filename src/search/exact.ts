import { greedy, greedyPasses } from '../methods/greedy.ts'
import { defineMethod } from '../methods/method.ts'
import { singleRemovable } from '../methods/units.ts'

/** The greedy loop as published, on candidates of any size: every one is measured on all rows in every step. */
export const search = defineMethod({
  name: 'exact',
  role: 'search',
  title: 'Exact greedy',
  unit: 'block',
  cost: 'n passes a step',
  options: {},
  passes: ({ blocks, steps }) => greedyPasses(blocks, steps),
  removable: singleRemovable,
  run: ({ objective, moves, ...context }) => greedy(objective, moves.removals, context),
})
