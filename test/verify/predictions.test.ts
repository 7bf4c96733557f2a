import { expect, it } from 'vitest'
import { openLocalEngine } from '../../src/engine/localEngine.ts'
import { emptyPlan } from '../../src/model/plan.ts'
import type { TokenRows } from '../../src/types.ts'
import { countOfPredictions, predict, predictionsOf } from '../../src/verify/predictions.ts'
import { openTiny } from '../export/onnxSession.ts'

const rows: TokenRows = {
  ids: Int32Array.from({ length: 10 }, (_, i) => i + 4),
  rows: 2,
  rowLength: 5,
  lengths: Int32Array.of(5, 3),
  decoder: { ids: Int32Array.from({ length: 6 }, (_, i) => i + 7), rows: 2, rowLength: 3 },
}

it.each([
  ['tiny-random/gpt2', 'nextToken', 'V', 10],
  ['tiny-random/t5', 'targetToken', 'V', 6],
  ['tiny-random/bert', 'maskedToken', 'V', 10],
  ['tiny-random/bert-cls', 'rowClass', 'C', 2],
  ['tiny-encoders/bert-tokens', 'tokenClass', 'C', 10],
  ['tiny-encoders/roberta-headless', 'hiddenState', 'D', 10],
] as const)('%s is compared by its %s', async (path, kind, letter, count) => {
  const model = await openTiny(path)
  const width = model.sizes[letter]!
  expect(predictionsOf(model)).toEqual({ kind, width })
  expect(countOfPredictions(kind, rows)).toBe(count)
  const engine = openLocalEngine(model, { threads: 1 })
  expect(await predict(model, engine, rows, emptyPlan)).toHaveLength(count * width)
  await Promise.all([engine.close(), model.weights.close()])
})
