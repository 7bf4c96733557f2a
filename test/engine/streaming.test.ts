import { createHash } from 'node:crypto'
import { mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { cpuDevice } from '../../src/device/cpu.ts'
import { openMachine } from '../../src/engine/machine.ts'
import { describeMemory, type MemoryPlan, planMemory } from '../../src/engine/memory.ts'
import type { Measure } from '../../src/measures/machine.ts'
import { type MeasureName, type Measures, measures } from '../../src/measures/registry.ts'
import type { Model } from '../../src/model/model.ts'
import { encodeBias } from '../../src/model/outputBias.ts'
import { emptyPlan, withoutBlock } from '../../src/model/plan.ts'
import type { PruningPlan, TokenRows } from '../../src/types.ts'
import { openFixture } from '../model/openFixture.ts'

type Asked = { [Name in MeasureName]: { name: Name; options: Measures[Name]['options'] } }[MeasureName]

/** More rows than one micro-batch holds, all of the rows of a fixture over and over. */
function repeated(rows: TokenRows, times: number): TokenRows {
  const over = <Values extends Int32Array | undefined>(values: Values) =>
    values && Int32Array.from({ length: values.length * times }, (_, i) => values[i % values.length]!)
  return {
    ids: over(rows.ids),
    rows: rows.rows * times,
    rowLength: rows.rowLength,
    ...(rows.lengths && { lengths: over(rows.lengths) }),
    ...(rows.targets && { targets: over(rows.targets) }),
    ...(rows.decoder && { decoder: repeated(rows.decoder, times) }),
  }
}

function plansOf(model: Model): PruningPlan[] {
  const ids = model.blocks.map(({ id }) => id)
  const mlp = model.blocks.find(({ kind }) => kind === 'mlp')!
  const narrow = { [mlp.id]: [1, 3] }
  const bias = encodeBias(Float32Array.from({ length: model.sizes['D']! }, (_, i) => Math.sin(i)))
  return [
    emptyPlan,
    ...ids.map((id) => withoutBlock(emptyPlan, id)),
    { blocks: ids.slice(1, 3), units: {} },
    { blocks: [], units: narrow },
    { blocks: [ids.at(-1)!], units: narrow },
    { blocks: [], units: narrow, outputBiases: { [mlp.id]: bias } },
  ]
}

async function answer(model: Model, rows: TokenRows, memory: MemoryPlan | undefined, asked: Asked, folder: string) {
  const device = cpuDevice({ threads: 1, poisonFreed: true })
  const machine = openMachine(model, { device, memory, spillFolder: folder })
  const { measure } = measures[asked.name] as Measure<unknown, unknown>
  const isOfWhole = asked.name === 'channelStatistics' || asked.name === 'similarity'
  const plans = isOfWhole ? [emptyPlan] : plansOf(model)
  const { options } = asked
  const found = await measure(machine, {
    rows,
    plans,
    options,
    prefix: undefined,
    signal: undefined,
    onRows: undefined,
  })
  await machine.close()
  await device.close()
  return digest(found)
}

/** Equal for the same bits. */
function digest(found: unknown): string {
  const hash = createHash('sha256')
  const add = (value: unknown): void => {
    if (ArrayBuffer.isView(value)) hash.update(new Uint8Array(value.buffer, value.byteOffset, value.byteLength))
    else if (typeof value === 'object' && value !== null) for (const part of Object.values(value)) add(part)
    else hash.update(String(value))
  }
  add(found)
  return hash.digest('hex')
}

describe('weights read block by block', () => {
  it.each([
    ['tiny-random/llama', 'tokenLoss'],
    ['tiny-random/gpt_neox', 'tokenLoss'],
    ['tiny-random/phi3', 'tokenLoss'],
    ['tiny-random/falcon', 'tokenLoss'],
    ['tiny-random/gpt2', 'tokenLoss'],
    ['tiny-random/gemma2', 'tokenLoss'],
    ['tiny-random/llama', 'channelStatistics'],
    ['tiny-random/llama', 'similarity'],
    ['tiny-random/llama', 'outputDistance'],
    ['tiny-random/bert', 'hiddenStates'],
    ['tiny-random/bart', 'hiddenStates'],
    ['tiny-random/t5', 'hiddenDistance'],
  ] as const)('give the same bits as weights that stay: %s, %s', async (path, name) => {
    const { model, rows } = await openFixture(path)
    const folder = mkdtempSync(join(tmpdir(), 'streaming-'))
    const given = model.architecture.family === 'encoderDecoder' ? { ...rows, decoder: rows } : rows
    const many = repeated(given, Math.ceil(2000 / rows.ids.length))
    const options = {
      tokenLoss: {},
      hiddenStates: {},
      hiddenDistance: { by: 'meanSquared' },
      outputDistance: { by: 'kl' },
      channelStatistics: { blocks: ['decoder.0.attention', 'decoder.1.mlp'] },
      similarity: { by: 'cosine', spans: [['decoder.0.mlp', 'decoder.1.mlp']] },
    }[name]
    const asked = { name, options } as unknown as Asked
    const usual = await answer(model, many, undefined, asked, folder)
    const state = 1024 * model.sizes['D']! * 4
    // room for few plans at a time, and at the head for none of them
    for (const branches of [4, 9, 1000]) {
      const memory: MemoryPlan = {
        weights: 'streamed',
        stateBytes: branches * state,
        stateBytesAtHead: branches > 100 ? branches * state : 0,
        weightBytes: 0,
        maxBytes: 0,
      }
      expect(await answer(model, many, memory, asked, folder)).toBe(usual)
    }
    expect(readdirSync(folder)).toEqual([])
    rmSync(folder, { recursive: true })
    await model.weights.close()
  })
})

describe('the memory plan', () => {
  it('keeps weights where they fit beside the states, else streams them, else says what is needed', async () => {
    const { model } = await openFixture('tiny-random/llama')
    const resident = planMemory(model, 1e9)
    expect(resident.weights).toBe('resident')
    expect(describeMemory(resident)).toMatch(/^1\.00 GB: all weights stay in memory/)
    expect(() => planMemory(model, 1e5)).toThrow(/--max-memory 0 MB: is too little for .*allow at least that/)
    let least = 1e5
    for (;;) {
      try {
        planMemory(model, least)
        break
      } catch {
        least += 1e4
      }
    }
    const streamed = planMemory(model, least)
    expect(streamed.weights).toBe('streamed')
    expect(streamed.stateBytes).toBeLessThan(least)
    expect(describeMemory(streamed)).toContain('block by block')
    await model.weights.close()
  })
})
