import { fileURLToPath } from 'node:url'
import { describe, expect, it } from 'vitest'
import { webgpuDevice } from '../../src/device/webgpu.ts'
import { chooseDevice } from '../../src/engine/chooseDevice.ts'
import { openLocalEngine } from '../../src/engine/localEngine.ts'
import { buildGraph } from '../../src/graph/graph.ts'
import { loadModel } from '../../src/model/load.ts'
import type { Model } from '../../src/model/model.ts'
import { emptyPlan, withoutBlock } from '../../src/model/plan.ts'
import { hiddenDistanceObjective } from '../../src/objectives/hiddenDistance.ts'
import { perplexityObjective } from '../../src/objectives/perplexity.ts'
import type { TokenRows } from '../../src/types.ts'
import { deviceSuite } from '../device/deviceSuite.ts'
import { expectError } from '../measured.ts'

const missing = await webgpuDevice().then(
  (device) => device.close(),
  (error: Error) => error.message,
)

// grouped heads and rotary positions; padding and an encoder; cross attention and a position bias
const fixtures = ['llama', 'bert', 't5'].map((name) => `tiny-random/${name}`)

// where there is none, every test below says so
if (missing === undefined) deviceSuite('webgpu', { open: webgpuDevice, fixtures, error: 2e-6 })

const fixture = (path: string) => fileURLToPath(new URL(`../fixtures/${path}`, import.meta.url))
const models = [
  ...['llama', 'gpt2', 't5'].map((name) => fixture(`tiny-random/${name}`)),
  ...['embedded', fixture('brown/brown-gpt2')],
]

describe('on WebGPU', () => {
  it.for(models)('the blocks hurt in the order that they do on the CPU: %s', async (path, { skip }) => {
    if (missing !== undefined) return skip(missing)
    const model = await loadModel(path)
    const plans = model.blocks.map(({ id }) => withoutBlock(emptyPlan, id))
    const losses = async (device: 'cpu' | 'webgpu') => {
      // the test of the device is below: it would take longer than the orders
      const engine = openLocalEngine(model, { device, threads: 1, isDeviceTested: true })
      const rows = rowsFor(model)
      const isDecoder = model.architecture.family === 'decoder'
      const objective = isDecoder ? perplexityObjective(engine, rows) : hiddenDistanceObjective(engine, rows)
      const found = await objective.evaluate([emptyPlan, ...plans])
      await engine.close()
      return found
    }
    const [expected, found] = [await losses('cpu'), await losses('webgpu')]
    expect(expected.length).toBe(model.blocks.length + 1)
    expect(orderOf(found)).toEqual(orderOf(expected))
    for (const [i, loss] of expected.entries()) expectError(Math.abs(found[i]! - loss) / Math.abs(loss || 1), 1e-6)
    await model.weights.close()
  })

  it('a tensor that is larger than the device allows is refused by name', async ({ skip }) => {
    if (missing !== undefined) return skip(missing)
    const device = await webgpuDevice()
    const g = buildGraph('logits')
    const graph = g.finish([g.apply('linear', [g.state('hidden', ['N', 'D']), g.weight('lmHead', ['V', 'D'])], {})])
    const width = 2 ** 18
    const feeds = {
      hidden: device.upload('float32', new Float32Array(width), [1, width]),
      // a little more than 1 GiB
      lmHead: device.upload('float32', new Float32Array(1025 * width), [1025, width]),
    }
    const error = await device.run(graph, [1, 1], feeds).then(
      () => undefined,
      (thrown: Error) => thrown.message,
    )
    await device.close()
    if (error === undefined) return skip('this device allows more than 1 GiB')
    expect(error).toBe(
      '--device webgpu: lmHead (1025,262144) of logits: a tensor is larger than the device allows, 1024 MiB; take --device cpu',
    )
  })

  it('is compared with the CPU by each part of a model', async ({ skip }) => {
    if (missing !== undefined) return skip(missing)
    const model = await loadModel(fixture('tiny-random/llama'))
    const { device, text } = await chooseDevice(model, 'webgpu')
    expect(device).toBe('webgpu')
    expect(text).toMatch(/^webgpu: differs from the CPU by at most \d\.\de-0?[567] in 5 parts/)
    await model.weights.close()
  })
})

/** Plans from the one that hurts least. */
const orderOf = (losses: readonly number[]) => losses.map((_, i) => i).sort((a, b) => losses[a]! - losses[b]!)

/** One row of more tokens than a kernel takes in one piece. */
function rowsFor({ architecture, sizes }: Model): TokenRows {
  const ids = Int32Array.from({ length: 36 }, (_, i) => 4 + ((7919 * i) % (sizes['V']! - 4)))
  const rows = { ids, rows: 1, rowLength: 36 }
  if (architecture.family === 'decoder') return rows
  const padded = { ...rows, lengths: Int32Array.of(30) }
  return architecture.family === 'encoder'
    ? padded
    : { ...padded, decoder: { ids: ids.slice(0, 34), rows: 1, rowLength: 34 } }
}
