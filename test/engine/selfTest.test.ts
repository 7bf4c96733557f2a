import { describe, expect, it } from 'vitest'
import { cpuDevice } from '../../src/device/cpu.ts'
import type { Device } from '../../src/device/device.ts'
import { chooseDevice } from '../../src/engine/chooseDevice.ts'
import { openLocalEngine } from '../../src/engine/localEngine.ts'
import { selfTest } from '../../src/engine/selfTest.ts'
import { openFixture } from '../model/openFixture.ts'

const families = ['llama', 'gpt_neox', 'bert', 'bert-cls', 't5', 'gemma3'].map((name) => `tiny-random/${name}`)

/** A device that attends by primitives, whose runs of graphs called `graph` give numbers `factor` times too large. */
function wrongDevice(graph: string, factor: number): Device {
  const device = cpuDevice({ threads: 1 })
  return {
    ...device,
    name: 'webgpu',
    kernel: 'primitives',
    async run(given, ...rest) {
      const outputs = await device.run(given, ...rest)
      if (given.name !== graph) return outputs
      return Promise.all(
        outputs.map(async (output) => {
          const values = (await device.read(output)) as Float32Array
          return device.upload(
            'float32',
            values.map((value) => value * factor),
            output.dims,
          )
        }),
      )
    },
  }
}

describe('the self-test of a device', () => {
  it.each(families)('compares a block of each form, what stands around them and the head: %s', async (path) => {
    const { model } = await openFixture(path)
    const { errors, seconds } = await selfTest(model, wrongDevice('none', 1), 1)
    const kinds = new Set(model.blocks.map(({ kind }) => kind))
    const parts = errors.map(({ part }) => part)
    for (const kind of kinds) expect(parts.some((part) => part.endsWith(`.${kind}`))).toBe(true)
    expect(parts).toEqual(expect.arrayContaining(['logits', 'tokenLoss']))
    expect(parts.length).toBeLessThan(model.blocks.length + 8)
    for (const { error } of errors) expect(error).toBeLessThan(2e-5)
    expect(seconds.device).toBeGreaterThan(0)
    await model.weights.close()
  })

  it.each(['attention', 'mlp', 'embedding', 'logits'])('refuses a wrong %s, with the figures', async (graph) => {
    const { model } = await openFixture('tiny-random/llama')
    await expect(selfTest(model, wrongDevice(graph, 1.01), 1)).rejects.toThrow(
      /--device webgpu: does not compute .*mlp \d\.\de.*expected at most 0\.001/,
    )
    await expect(selfTest(model, wrongDevice(graph, Number.NaN), 1)).rejects.toThrow('--device webgpu')
    await model.weights.close()
  })
})

describe('the choice of a device', () => {
  it('names what there is, and the command that installs CUDA', async () => {
    const { model } = await openFixture('tiny-random/llama')
    await expect(chooseDevice(model, 'gpu' as 'cpu')).rejects.toThrow('expected one of auto, cpu, webgpu, cuda')
    const engine = openLocalEngine(model, { device: 'cuda', threads: 1 })
    const rows = await engine.put({ ids: Int32Array.of(4, 5), rows: 1, rowLength: 2 })
    const asked = engine.measure({ rows, plans: [{ blocks: [], units: {} }], measure: { name: 'tokenLoss' } })
    await expect(asked).rejects.toThrow('npm rebuild onnxruntime-node --ignore-scripts=false')
    await engine.close()
    await model.weights.close()
  })

  it('takes the CPU where nothing faster passes, and says why in a line', async () => {
    const { model } = await openFixture('tiny-random/llama')
    const { device, text } = await chooseDevice(model, 'auto', 1)
    // where a graphics card is, it may be taken
    if (device === 'cpu') expect(text).toMatch(/^cpu; .*cuda: .*webgpu: /)
    else expect(text).toMatch(/differs from the CPU by at most/)
    await model.weights.close()
  })
})
