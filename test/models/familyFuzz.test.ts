import { spawnSync } from 'node:child_process'
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type * as ort from 'onnxruntime-node'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { openLocalEngine } from '../../src/engine/localEngine.ts'
import { UnsupportedModelError } from '../../src/errors.ts'
import { exportGguf } from '../../src/export/gguf.ts'
import type { Engine } from '../../src/measures/measurement.ts'
import { openModel } from '../../src/model/load.ts'
import type { Model } from '../../src/model/model.ts'
import { emptyPlan } from '../../src/model/plan.ts'
import { Random } from '../../src/tensor/random.ts'
import type { PruningPlan, TokenRows } from '../../src/types.ts'
import { predict, predictionsOf } from '../../src/verify/predictions.ts'
import * as ask from '../asked.ts'
import { byteTokenizer } from '../export/byteTokenizer.ts'
import { call, dataOf, exportedSessions, int64, largestDifference } from '../export/onnxSession.ts'
import { expectError } from '../measured.ts'
import { randomPlan } from './randomPlans.ts'
import { casesRows, exportCase, verifyCases } from './transformersCases.ts'

/**
 * Models of every family with configs drawn at random, and plans drawn at random: what transformers computes of the dense model,
 * and what every export of a plan gives in its own consumer, are the engine's numbers. BLOCKPRUNER_PYTHON names a python with torch
 * and transformers, BLOCKPRUNER_FUZZ another seed and, behind a comma, another number of models: `7,200`.
 */
const python = process.env['BLOCKPRUNER_PYTHON']
const [seed = 1, count = 30] = (process.env['BLOCKPRUNER_FUZZ'] ?? '').split(',').filter(Boolean).map(Number)
const plansEach = 2

let folder = ''
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'family-fuzz-'))
})
afterAll(() => rm(folder, { recursive: true }))

interface Opened {
  readonly model: Model
  readonly engine: Engine
}

async function using<Result>(path: string, use: (opened: Opened) => Promise<Result>): Promise<Result> {
  const model = await openModel(path, path)
  const engine = openLocalEngine(model, { threads: 1 })
  try {
    return await use({ model, engine })
  } finally {
    await engine.close()
    await model.weights.close()
  }
}

// logits are up to 10 in size; measured over 400 models: at most 1.2e-5 of that
const expectClose = (found: Float32Array, expected: Float32Array, what: string) => {
  const size = expected.reduce((most, value) => Math.max(most, Math.abs(value)), 1)
  expectError(largestDifference(expected, found) / size, 1.2e-5, what)
}

describe.skipIf(python === undefined)(`models drawn with seed ${seed} (needs BLOCKPRUNER_PYTHON)`, () => {
  test('are computed as transformers computes them, dense and after every export of a plan', async () => {
    const models = join(folder, 'models')
    const script = join(import.meta.dirname, 'random_models.py')
    const { status, stderr } = spawnSync(python!, [script, models, `${seed}`, `${count}`], { encoding: 'utf8' })
    expect(status, stderr.slice(-2000)).toBe(0)
    const names = (await readdir(models)).sort()
    expect(names).toHaveLength(count)
    const random = new Random(seed)
    const cases: object[] = []
    let ggufFiles = 0
    const refused: string[] = []
    for (const name of names) {
      if (await isRefused(join(models, name))) {
        refused.push(name)
        continue
      }
      await using(join(models, name), async (opened) => {
        await checkDense(opened, name)
        const plans = Array.from({ length: plansEach }, () => randomPlan(opened.model, random))
        await checkTogether(
          opened,
          plans.map(({ plan }) => plan),
          name,
        )
        for (const [i, { name: shape, plan }] of plans.entries()) {
          const what = `${name} without ${shape}: ${JSON.stringify({ ...plan, outputBiases: undefined })}`
          const directory = join(folder, 'exports', `${name}-${i}`)
          cases.push({ name: what, ...(await exportCase(opened.model, plan, directory)) })
          const rows = casesRows(opened.model)
          const expected = await predict(opened.model, opened.engine, rows, plan)
          await using(directory, async ({ model, engine }) => {
            expectClose(await predict(model, engine, rows, emptyPlan), expected, `${what}, opened again`)
          })
          await checkOnnx(opened, rows, plan, expected, what)
          ggufFiles += await checkGguf(opened, plan, what)
        }
      })
    }
    expect(ggufFiles, 'exports to GGUF').toBeGreaterThan(0)
    // every second config has two spellings of a setting or one of another family, and few of those say different things
    expect(refused.length, `refused: ${refused.join(', ')}`).toBeLessThan(count / 3)
    const stdout = await verifyCases(python!, cases, folder)
    expect(stdout.match(/^FAIL .*/gm) ?? []).toEqual([])
    expect(stdout).toMatch(/^(\d+) of \1 checks passed$/m)
  })
})

/** Whether the model is refused for a setting that was added to its config, by its name. */
async function isRefused(path: string): Promise<boolean> {
  const { added } = JSON.parse(await readFile(join(path, 'expected.json'), 'utf8'))
  try {
    const { weights } = await openModel(path, path)
    await weights.close()
    return false
  } catch (error) {
    expect(error, path).toBeInstanceOf(UnsupportedModelError)
    expect(
      added.some((key: string) => (error as Error).message.includes(`"${key}"`)),
      `${path}: ${error}`,
    ).toBe(true)
    return true
  }
}

/** The numbers that transformers gave when the model was made. */
async function checkDense({ model, engine }: Opened, name: string): Promise<void> {
  const expected = JSON.parse(await readFile(join(model.path, 'expected.json'), 'utf8'))
  const rowsOf = (ids: readonly number[][]): TokenRows => ({
    ids: Int32Array.from(ids.flat()),
    rows: ids.length,
    rowLength: ids[0]!.length,
  })
  const decoder = expected.decoder_input_ids && { decoder: rowsOf(expected.decoder_input_ids) }
  const found = await predict(model, engine, { ...rowsOf(expected.input_ids), ...decoder }, emptyPlan)
  expectClose(found, Float32Array.from(expected.values), name)
}

/** Plans that share what they have in common give what each gives alone. */
async function checkTogether({ model, engine }: Opened, plans: readonly PruningPlan[], name: string): Promise<void> {
  const rows = casesRows(model)
  const together = await ask.hiddenDistances(engine, rows, plans, { by: 'meanSquared' })
  for (const [i, plan] of plans.entries()) {
    const [alone] = await ask.hiddenDistances(engine, rows, [plan], { by: 'meanSquared' })
    expectClose(Float32Array.from(together[i]!), Float32Array.from(alone!), `${name}, ${plans.length} plans together`)
  }
}

async function checkOnnx({ model }: Opened, rows: TokenRows, plan: PruningPlan, expected: Float32Array, what: string) {
  for (const attention of ['fused', 'plain'] as const) {
    const sessions = await exportedSessions(model, plan, join(folder, 'onnx'), 'fp32', attention)
    try {
      expectClose(await onnxPredictions(model, sessions, rows), expected, `${what}, ONNX ${attention}`)
    } finally {
      for (const session of sessions) await session.release()
    }
    if (model.architecture.family !== 'decoder') return
  }
}

/** Predictions of all rows, of a decoder in calls of all tokens but three and then of one each. */
async function onnxPredictions(model: Model, sessions: readonly ort.InferenceSession[], rows: TokenRows) {
  const shape = [rows.rows, rows.rowLength]
  const ones = int64(new Int32Array(rows.ids.length).fill(1), shape)
  const given = {
    input_ids: int64(rows.ids, shape),
    attention_mask: ones,
    token_type_ids: int64(new Int32Array(rows.ids.length), shape),
  }
  const { family } = model.architecture
  if (family === 'encoder') {
    const { outputs } = await call(sessions[0]!, given)
    return dataOf(outputs[predictionsOf(model).kind === 'hiddenState' ? 'last_hidden_state' : 'logits'])
  }
  if (family === 'decoder')
    return inSteps(model, sessions[0]!, rows, (length) => ({ attention_mask: filled(rows.rows, length) }))
  const { outputs } = await call(sessions[0]!, given)
  const memory = { encoder_hidden_states: outputs['last_hidden_state'] as ort.Tensor, encoder_attention_mask: ones }
  return inSteps(model, sessions[1]!, rows.decoder!, () => memory)
}

const filled = (rows: number, length: number) => int64(new Int32Array(rows * length).fill(1), [rows, length])

async function inSteps(
  model: Model,
  session: ort.InferenceSession,
  { ids, rows, rowLength }: TokenRows,
  more: (length: number) => Readonly<Record<string, ort.Tensor>>,
): Promise<Float32Array> {
  const V = model.sizes['V']!
  const logits = new Float32Array(rows * rowLength * V)
  let [caches, done]: [Record<string, ort.Tensor>, number] = [{}, 0]
  for (const size of [rowLength - 3, 1, 1, 1]) {
    const part = Array.from({ length: rows }, (_, row) => [
      ...ids.subarray(row * rowLength + done, row * rowLength + done + size),
    ])
    const inputs = {
      input_ids: int64(part.flat(), [rows, size]),
      num_logits_to_keep: int64([0], []),
      ...more(done + size),
    }
    const result = await call(session, inputs, caches)
    const found = dataOf(result.outputs['logits'])
    for (let row = 0; row < rows; row++) {
      logits.set(found.subarray(row * size * V, (row + 1) * size * V), (row * rowLength + done) * V)
    }
    // keys and values of the encoder's states are those of the first call
    const kept = Object.entries(caches).filter(([name]) => name.includes('.encoder.'))
    caches = { ...result.caches, ...Object.fromEntries(kept) }
    done += size
  }
  return logits
}

/** How many files were compared: one where the family has a GGUF form; what llama.cpp does not compute is refused by name. */
async function checkGguf({ model, engine }: Opened, plan: PruningPlan, what: string): Promise<number> {
  const path = join(folder, 'model.gguf')
  const assets = new Map([['tokenizer.json', async () => byteTokenizer(model.sizes['V']!)]])
  try {
    await exportGguf({ ...model, assets }, plan, path, { type: 'F32', replace: true })
  } catch (error) {
    expect(error, what).toBeInstanceOf(UnsupportedModelError)
    expect((error as Error).message, what).toMatch(/; (remove whole layers, or )?export to huggingface or onnx$/)
    return 0
  }
  await using(path, async (reopened) => {
    // llama.cpp is told of no window, only how long a row may be
    const length = Math.min(20, Number(reopened.model.config['max_position_embeddings']))
    const ids = casesRows(model).ids.subarray(0, length)
    const rows = { ids, rows: 1, rowLength: length }
    const found = await predict(reopened.model, reopened.engine, rows, emptyPlan)
    expectClose(found, await predict(model, engine, rows, plan), `${what}, GGUF`)
  })
  return 1
}
