import { mkdtempSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { openPlan, planFor } from '../../src/run/givenPlan.ts'
import { readPlanFile } from '../../src/run/planFile.ts'
import { openFixture } from '../model/openFixture.ts'

const folder = mkdtempSync(join(tmpdir(), 'plans-'))
const { model } = await openFixture('tiny-random/llama')
const last = model.blocks.at(-1)!.layer

function written(plan: unknown): string {
  const path = join(folder, 'plan.json')
  writeFileSync(path, JSON.stringify(plan))
  return path
}

const given = async (plan: unknown, steps?: number) => planFor(model, await openPlan(written(plan)), { steps })

describe('a plan written by hand', () => {
  it('names layers, blocks and ranges', async () => {
    expect(await given({ blocks: ['decoder.1', 'decoder.0.mlp'] })).toEqual({
      blocks: ['decoder.1.attention', 'decoder.1.mlp', 'decoder.0.mlp'],
      units: {},
    })
    expect((await given({ blocks: [`decoder.0-${last}.mlp`] })).blocks).toHaveLength(last + 1)
    expect(await given({ blocks: [] })).toEqual({ blocks: [], units: {} })
    expect(await given({ blocks: ['decoder.0'] }, 0)).toEqual({ blocks: [], units: {} })
    expect(await given({ blocks: [], units: { 'decoder.0.mlp': [0, 2] } })).toMatchObject({
      units: { 'decoder.0.mlp': [0, 2] },
    })
  })

  it('is found in a folder, as that of a run is', async () => {
    written({ blocks: ['decoder.0.mlp'] })
    expect((await planFor(model, await openPlan(folder), {})).blocks).toEqual(['decoder.0.mlp'])
  })

  it('is refused with what is wrong in it', async () => {
    await expect(given({ blocks: ['decoder.99'] })).rejects.toThrow(
      /plan\.json: blocks: "decoder\.99" names layer 99, but the decoder of .* has layers 0 to/,
    )
    await expect(given({ blocks: [3] })).rejects.toThrow(/plan\.json: blocks\.0: .*; expected \{"blocks"/)
    await expect(given({ blocks: ['decoder.0'], layers: [] })).rejects.toThrow('plan.json: top level: Unrecognized key')
    await expect(given({ blocks: [], units: { 'decoder.0.mlp': [1e6] } })).rejects.toThrow('unit 1000000 of')
    await expect(given({ blocks: ['decoder.0'] }, 2)).rejects.toThrow('--steps 2: ')
    await expect(given({ steps: [] })).rejects.toThrow('expected a plan.json of blockpruner, version 1')
    await expect(readPlanFile(written({ blocks: ['decoder.0'] }))).rejects.toThrow('was written by hand, expected the')
  })
})
