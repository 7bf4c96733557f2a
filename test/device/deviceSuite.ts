import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { cpuDevice } from '../../src/device/cpu.ts'
import type { Device, Handle, HostValues } from '../../src/device/device.ts'
import { openMachine } from '../../src/engine/machine.ts'
import type { ElementType } from '../../src/graph/operations.ts'
import type { Machine } from '../../src/measures/machine.ts'
import { measures } from '../../src/measures/registry.ts'
import type { Model } from '../../src/model/model.ts'
import { emptyPlan, withoutBlock } from '../../src/model/plan.ts'
import type { PruningPlan, TokenRows } from '../../src/types.ts'
import { expectError } from '../measured.ts'
import { openFixture } from '../model/openFixture.ts'

/** One model of each form of attention, mlp, norm, position and head. */
export const everyForm = [
  ...'bloom falcon gemma2 gemma3 gpt2 gpt_neox llama opt phi qwen3 bert bart t5'
    .split(' ')
    .map((n) => `tiny-random/${n}`),
]

export interface SuiteOptions {
  readonly open: () => Promise<Device>
  readonly fixtures?: readonly string[]
  /** Largest difference from the CPU measured over all values, relative to the largest of them. */
  readonly error: number
}

/** What every device must do, against the CPU. */
export function deviceSuite(name: string, { open, fixtures = everyForm, error }: SuiteOptions): void {
  describe(`the device ${name}`, () => {
    let device: Device
    beforeAll(async () => {
      device = await open()
    })
    afterAll(() => device.close())

    it.each<[ElementType, HostValues, number[]]>([
      ['float32', Float32Array.from({ length: 30_000 }, (_, i) => Math.sin(i) * 1e3), [30, 20, 50]],
      ['float32', Float32Array.of(-0, 1e-40, 3e38, -1), [4]],
      ['int32', Int32Array.of(-(2 ** 31), 0, 2 ** 31 - 1), [3, 1]],
      ['int64', BigInt64Array.of(-(2n ** 63n), 0n, 2n ** 63n - 1n), [1, 3]],
    ])('gives back %s numbers as they were', async (type, values, dims) => {
      const handle = device.upload(type, values, dims)
      expect(handle).toMatchObject({ type, dims })
      expect(await device.read(handle)).toEqual(values)
      expect(await device.take(handle)).toEqual(values)
    })

    it.each(fixtures)('computes what the CPU does, and frees what it held: %s', async (path) => {
      const { model } = await openFixture(path)
      const rows = rowsFor(model)
      const [block] = model.blocks
      const plans: PruningPlan[] = [
        emptyPlan,
        withoutBlock(emptyPlan, block!.id),
        { blocks: [], units: { [model.blocks[1]!.id]: [0] } },
      ]
      const answers = async (machine: Machine) => {
        const found: (readonly [string, readonly Float32Array[]])[] = []
        for (const name of ['hiddenStates', 'logits'] as const) {
          const { measure } = measures[name]
          const asked = { rows, plans, options: {}, prefix: undefined, signal: undefined, onRows: undefined }
          found.push([name, await measure(machine, asked)])
        }
        if (model.architecture.family === 'decoder') {
          const asked = { rows, plans, prefix: undefined, signal: undefined, onRows: undefined }
          const losses = await measures.tokenLoss.measure(machine, { ...asked, options: {} })
          const released = await measures.tokenLoss.measure(machine, { ...asked, options: { arithmetic: 'released' } })
          const distances = await measures.outputDistance.measure(machine, { ...asked, options: { by: 'js' } })
          found.push(
            ['tokenLoss', losses.map((values) => Float32Array.from(values))],
            ['released', released.map((values) => Float32Array.from(values))],
          )
          found.push(['outputDistance', distances.map((values) => Float32Array.from(values))])
        }
        return found
      }
      const cpu = cpuDevice({ threads: 1 })
      const { device, alive } = counted(await open())
      try {
        const machine = openMachine(model, { device })
        const [expected, found] = [await answers(openMachine(model, { device: cpu })), await answers(machine)]
        // weights, and the states of the latest rows
        const held = alive()
        expect(held).toBeGreaterThan(0)
        await answers(machine)
        expect(alive()).toBe(held)
        for (const [i, [name, values]] of expected.entries()) {
          for (const [plan, numbers] of values.entries()) {
            expectError(distance(numbers, found[i]![1][plan]!), error, `${path}: ${name} of plan ${plan}`)
          }
        }
      } finally {
        await device.close()
        await cpu.close()
        await model.weights.close()
      }
    })
  })
}

/** `device`, and how many of its tensors were neither freed nor taken. */
function counted(device: Device): { device: Device; alive: () => number } {
  const held = new Set<Handle>()
  const hold = (handle: Handle) => {
    held.add(handle)
    return handle
  }
  return {
    alive: () => held.size,
    device: {
      ...device,
      upload: (...given) => hold(device.upload(...given)),
      run: async (...given) => (await device.run(...given)).map(hold),
      take(handle) {
        held.delete(handle)
        return device.take(handle)
      },
      free(handle) {
        held.delete(handle)
        device.free(handle)
      },
    },
  }
}

/** Largest difference, relative to the largest number. */
function distance(expected: Float32Array, found: Float32Array): number {
  expect(found.length).toBe(expected.length)
  let [largest, worst] = [0, 0]
  for (const [i, value] of expected.entries()) {
    largest = Math.max(largest, Math.abs(value))
    worst = Math.max(worst, Math.abs(value - found[i]!))
  }
  return worst === 0 ? 0 : worst / largest
}

/** Two rows of more tokens than a kernel takes in one piece; the second is padded where the model reads padding. */
function rowsFor({ architecture }: Model): TokenRows {
  const ids = (count: number, from: number) => Int32Array.from({ length: count }, (_, i) => 4 + ((from + 7 * i) % 40))
  const rows = { ids: ids(72, 1), rows: 2, rowLength: 36 }
  if (architecture.family === 'decoder') return rows
  const padded = { ...rows, lengths: Int32Array.of(36, 20) }
  return architecture.family === 'encoder'
    ? padded
    : { ...padded, decoder: { ids: ids(68, 3), rows: 2, rowLength: 34 } }
}
