import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { openLocalEngine } from '../../src/engine/localEngine.ts'
import { UnsupportedModelError } from '../../src/errors.ts'
import { composeOnnx } from '../../src/export/onnxGraph.ts'
import type { Model } from '../../src/model/model.ts'
import { emptyPlan } from '../../src/model/plan.ts'
import type { BlockId, PruningPlan, TokenRows } from '../../src/types.ts'
import { predict, predictionsOf } from '../../src/verify/predictions.ts'
import * as ask from '../asked.ts'
import { expectError } from '../measured.ts'
import {
  call,
  dataOf,
  exportedSessions,
  fitting,
  int64,
  largestDifference,
  openedTiny,
  openTiny,
  relativeError,
  tinyEncoders,
} from './onnxSession.ts'

let folder = ''
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'onnx-encoders-'))
})
afterAll(() => rm(folder, { recursive: true }))

const without = (...ids: string[]): PruningPlan => ({ blocks: ids.map((id) => `encoder.${id}` as BlockId), units: {} })
const mixed: PruningPlan = {
  blocks: ['encoder.0.attention', 'encoder.2.mlp'],
  units: { 'encoder.1.attention': [0, 2], 'encoder.0.mlp': [0, 5, 127] },
}
const plans: [string, PruningPlan][] = [
  ['nothing', emptyPlan],
  ['attention', without('0.attention', '2.attention')],
  ['mlps', without('0.mlp', '2.mlp')],
  ['attention and its norms', { ...without('1.attention'), outputNorms: 'drop' }],
  ['blocks, heads and channels', mixed],
  ['everything of a layer', without('1.attention', '1.mlp')],
]

/** Two rows of 12 tokens, of the second of which the last 5 are padding. */
function rowsOf(model: Model): TokenRows {
  const ids = Int32Array.from({ length: 24 }, (_, i) => (i * 37 + 5) % model.sizes['V']!)
  return { ids, rows: 2, rowLength: 12, lengths: Int32Array.of(12, 7) }
}

const inputsOf = ({ ids, lengths }: TokenRows) => ({
  input_ids: int64(ids, [2, 12]),
  attention_mask: int64(
    ids.map((_, i) => (i % 12 < lengths![Math.floor(i / 12)]! ? 1 : 0)),
    [2, 12],
  ),
  token_type_ids: int64(new Int32Array(24), [2, 12]),
})

describe.each(tinyEncoders)('%s', (path) => {
  const tiny = openedTiny(path)

  it('computes every plan on rows of unequal length', async () => {
    const { model, engine } = tiny
    const rows = rowsOf(model)
    const output = predictionsOf(model).kind === 'hiddenState' ? 'last_hidden_state' : 'logits'
    for (const [name, asked] of plans) {
      const plan = fitting(model, asked)
      const [session] = await exportedSessions(model, plan, join(folder, 'model'))
      expect(session!.outputNames).toEqual([output])
      const { outputs } = await call(session!, inputsOf(rows))
      const ours = await predict(model, engine, rows, plan)
      expectError(largestDifference(ours, dataOf(outputs[output])), measured, `without ${name}`)
      await session!.release()
    }
  })

  // measured, relative to the size of what is predicted: fp16 1.5e-3, q8 5.3e-2, q4 0.43; weights are random
  it.each([
    ['fp16', 4e-3],
    ['q8', 0.12],
    ['q4', 0.7],
  ] as const)('stays near the plan in %s', async (dtype, limit) => {
    const { model, engine } = tiny
    const rows = rowsOf(model)
    const { kind } = predictionsOf(model)
    const plan = fitting(model, mixed)
    const [session] = await exportedSessions(model, plan, join(folder, 'model'), dtype)
    const { outputs } = await call(session!, inputsOf(rows))
    const found = dataOf(outputs[kind === 'hiddenState' ? 'last_hidden_state' : 'logits'])
    const error = relativeError(await predict(model, engine, rows, plan), found)
    expect(error).toBeLessThan(limit)
    expect(error).toBeGreaterThan(0)
    await session!.release()
  })
})

/** The largest difference of a prediction. */
const measured = 8.9e-6

it('a second text is of the second token type, where the family has types', async () => {
  const model = await openTiny('tiny-random/bert')
  const rows = rowsOf(model)
  const [session] = await exportedSessions(model, emptyPlan, join(folder, 'types'))
  expect([...session!.inputNames].sort()).toEqual(['attention_mask', 'input_ids', 'token_type_ids'])
  const second = int64(
    rows.ids.map((_, i) => (i % 12 < 6 ? 0 : 1)),
    [2, 12],
  )
  const typed = await call(session!, { ...inputsOf(rows), token_type_ids: second })
  // the second row of the table takes the place of the first
  const { read } = model.weights
  const table = 'bert.embeddings.token_type_embeddings.weight'
  const types = await read(table)
  const width = model.sizes['D']!
  const isSecond = types.slice(width)
  const moved = openLocalEngine(
    {
      ...model,
      weights: {
        ...model.weights,
        read: async (name) => (name === table ? Float32Array.of(...isSecond, ...isSecond) : read(name)),
      },
    },
    { threads: 1 },
  )
  const untyped = openLocalEngine(model, { threads: 1 })
  // without attention every position stands alone
  const plan = without(
    ...model.blocks.filter(({ kind }) => kind === 'attention').map(({ layer }) => `${layer}.attention`),
  )
  const [alone] = await exportedSessions(model, plan, join(folder, 'types'))
  const { outputs } = await call(alone!, { ...inputsOf(rows), token_type_ids: second })
  const [firsts, seconds] = [await ask.logits(untyped, rows, plan), await ask.logits(moved, rows, plan)]
  const V = model.sizes['V']!
  const expected = firsts.map((value, i) => (Math.floor(i / V) % 12 < 6 ? value : seconds[i]!))
  expectError(largestDifference(expected, dataOf(outputs['logits'])), measured)
  expect(largestDifference(firsts, dataOf(outputs['logits']))).toBeGreaterThan(1e-3)
  expect(dataOf(typed.outputs['logits']).every(Number.isFinite)).toBe(true)
  await Promise.all([session!.release(), alone!.release(), moved.close(), untyped.close(), model.weights.close()])
})

it('a head that answers questions is refused by name', async () => {
  const model = await openTiny('tiny-encoders/bert-headless')
  const answering = { ...model, outer: { ...model.outer, answerProj: ['qa_outputs.weight', 'S D'] as const } }
  expect(() => composeOnnx(answering, 'fp32')).toThrow(UnsupportedModelError)
  expect(() => composeOnnx(answering, 'fp32')).toThrow(/qa_outputs/)
  await model.weights.close()
})
