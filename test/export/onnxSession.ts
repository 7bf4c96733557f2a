import { join } from 'node:path'
import * as ort from 'onnxruntime-node'
import { afterAll, beforeAll } from 'vitest'
import { openLocalEngine } from '../../src/engine/localEngine.ts'
import { exportOnnx } from '../../src/export/onnx.ts'
import type { OnnxAttention, OnnxDtype } from '../../src/export/onnxProducts.ts'
import type { Engine } from '../../src/measures/measurement.ts'
import { openModel } from '../../src/model/load.ts'
import type { Model } from '../../src/model/model.ts'
import type { PruningPlan } from '../../src/types.ts'

/** The binding of onnxruntime-node 1.30 cannot read the Float16Array that its own tensors are made of where Node has one. */
export const feedsHalves = !('Float16Array' in globalThis)

/** Encoders that have a class in transformers.js, with every kind of head and without one. */
export const tinyEncoders = [
  ...['bert', 'bert-cls', 'distilbert', 'roberta'].map((name) => `tiny-random/${name}`),
  ...[
    'bert-headless',
    'bert-tokens',
    'distilbert-cls',
    'roberta-cls',
    'roberta-headless',
    'roberta-padding-inside',
  ].map((name) => `tiny-encoders/${name}`),
]

export type Caches = Record<string, ort.Tensor>

/** The model in `test/fixtures/<path>`. */
export function openTiny(path: string): Promise<Model> {
  return openModel(path, join(import.meta.dirname, '../fixtures', path))
}

/** The model and an engine of one thread for it, there while the tests of the `describe` run that asks for them. */
export function openedTiny(path: string): { readonly model: Model; readonly engine: Engine } {
  const opened = {} as { model: Model; engine: Engine }
  beforeAll(async () => {
    opened.model = await openTiny(path)
    opened.engine = openLocalEngine(opened.model, { threads: 1 })
  })
  afterAll(async () => {
    await opened.engine?.close()
    await opened.model?.weights.close()
  })
  return opened
}

/** Exports `model` without what `plan` leaves out to `folder` and opens every graph of it. */
export async function exportedSessions(
  model: Model,
  plan: PruningPlan,
  folder: string,
  dtype: OnnxDtype = 'fp32',
  attention?: OnnxAttention,
): Promise<ort.InferenceSession[]> {
  const { files } = await exportOnnx(model, plan, folder, { dtypes: [dtype], attention, replace: true })
  return Promise.all(
    files.map(({ name }) =>
      ort.InferenceSession.create(join(folder, 'onnx', name), { logSeverityLevel: 3, intraOpNumThreads: 1 }),
    ),
  )
}

/** Rows of whole numbers as an int64 tensor. */
export function int64(values: ArrayLike<number>, dims: readonly number[]): ort.Tensor {
  return new ort.Tensor('int64', BigInt64Array.from(Array.from(values), BigInt), dims)
}

/** One call as transformers.js makes it: what the graph does not ask for is not given, a cache there is not yet is empty. */
export async function call(
  session: ort.InferenceSession,
  given: Readonly<Record<string, ort.Tensor>>,
  caches: Caches = {},
): Promise<{ outputs: ort.InferenceSession.OnnxValueMapType; caches: Caches }> {
  const rows = given['input_ids']!.dims[0]!
  const feeds: Record<string, ort.Tensor> = {}
  for (const input of session.inputMetadata) {
    const known = given[input.name] ?? caches[input.name]
    if (known !== undefined) feeds[input.name] = known
    else if (input.isTensor && input.name.startsWith('past_key_values.')) {
      const dims = input.shape.map((size) => (typeof size === 'number' ? size : size === 'batch_size' ? rows : 0))
      const data = input.type === 'float16' ? new Uint16Array(0) : new Float32Array(0)
      feeds[input.name] = new ort.Tensor(input.type as 'float32', data as Float32Array, dims)
    } else throw new Error(`the graph asks for ${input.name}, which transformers.js does not give`)
  }
  const outputs = await session.run(feeds)
  const present = Object.entries(outputs).filter(([name]) => name.startsWith('present.'))
  return {
    outputs,
    caches: Object.fromEntries(
      present.map(([name, value]) => [name.replace('present', 'past_key_values'), value as ort.Tensor]),
    ),
  }
}

export const dataOf = (value: ort.OnnxValue | undefined): Float32Array => (value as ort.Tensor).data as Float32Array

/** The largest difference of two equally long tables. */
export function largestDifference(one: Float32Array, other: Float32Array): number {
  if (one.length !== other.length || one.length === 0)
    throw new RangeError(`${one.length} against ${other.length} values`)
  return one.reduce((most, value, i) => Math.max(most, Math.abs(value - other[i]!)), 0)
}

/** √(Σ (found - ours)² / Σ ours²): what rounding did, whatever the size of the logits. */
export function relativeError(ours: Float32Array, found: Float32Array): number {
  if (ours.length !== found.length) throw new RangeError(`${ours.length} against ${found.length} values`)
  const squares = (values: Float32Array) => values.reduce((sum, value) => sum + value * value, 0)
  return Math.sqrt(squares(found.map((value, i) => value - ours[i]!)) / squares(ours))
}

/** `plan` less what a smaller model does not have. */
export function fitting({ blocks }: Model, plan: PruningPlan): PruningPlan {
  const unitsOf = new Map<string, number>(blocks.map(({ id, units }) => [id, units]))
  const units = Object.entries(plan.units).flatMap(([id, removed]) => {
    const has = unitsOf.get(id) ?? 0
    const left = (removed ?? []).filter((unit) => unit < has)
    return left.length > 0 && left.length < has ? [[id, left]] : []
  })
  return { ...plan, blocks: plan.blocks.filter((id) => unitsOf.has(id)), units: Object.fromEntries(units) }
}
