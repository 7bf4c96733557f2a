import { mkdtempSync, readFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { beforeAll, describe, expect, it } from 'vitest'
import { openLocalEngine } from '../../src/engine/localEngine.ts'
import { loadModel } from '../../src/model/load.ts'
import { emptyPlan } from '../../src/model/plan.ts'
import { readyPrompts, type Samples, sample } from '../../src/run/samples.ts'
import { blockpruner, type Finished } from './commandLine.ts'

const folder = mkdtempSync(join(tmpdir(), 'samples-'))
const size = ['--nsamples', '2', '--seqlen', '32', '--threads', '1']
let text: Finished
let samples: Samples

beforeAll(async () => {
  text = await blockpruner(['prune', '--output', folder, '--method', 'random', '--remove', '3', ...size])
  expect(text.code, text.stderr).toBe(0)
  samples = JSON.parse(readFileSync(join(folder, 'samples.json'), 'utf8'))
})

describe('sample continuations', () => {
  it('stand dense beside pruned in the text result and beside plan.json', () => {
    expect(samples).toMatchObject({ version: 1, chat: false, tokens: 24 })
    expect(samples.samples).toHaveLength(3)
    for (const { prompt, dense, pruned } of samples.samples) {
      expect(dense).not.toBe(pruned)
      for (const shown of [prompt, dense, pruned]) expect(text.stdout).toContain(shown.split(/[\n"]/)[0])
    }
    expect(readFileSync(join(folder, 'plan.json'), 'utf8')).not.toContain(samples.samples[0]!.prompt)
  })

  it('of the pruned model are what its export writes', async () => {
    const model = await loadModel(join(folder, 'model'))
    const engine = openLocalEngine(model, { threads: 1 })
    const reopened = await sample(model, engine, emptyPlan, (await readyPrompts(model, 3))!)
    expect(reopened.samples.map(({ dense }) => dense)).toEqual(samples.samples.map(({ pruned }) => pruned))
    await engine.close()
    await model.weights.close()
  })

  it('of evaluate are the same, and are not written where none are asked for', async () => {
    const asked = await blockpruner(['evaluate', '--plan', folder, '--continuations', '2', '--json', ...size])
    expect(asked.code, asked.stderr).toBe(0)
    expect(JSON.parse(asked.stdout).samples.samples).toEqual(samples.samples.slice(0, 2))
    const none = await blockpruner(['evaluate', '--plan', folder, '--json', ...size])
    expect(JSON.parse(none.stdout)).not.toHaveProperty('samples')
  })

  it('are refused, before a search, of what writes no text', async () => {
    const encoder = ['--model', 'test/fixtures/brown/brown-bert', '--output', join(folder, 'encoder'), ...size]
    const refused = await blockpruner(['prune', ...encoder, '--continuations', '1'])
    expect(refused).toMatchObject({
      code: 2,
      stderr: expect.stringContaining('is no decoder, so it continues no text'),
    })
    const many = await blockpruner(['prune', '--output', join(folder, 'many'), '--continuations', '9', ...size])
    expect(many).toMatchObject({ code: 2, stderr: expect.stringContaining('expected a whole number from 0 to 5') })
    const alone = await blockpruner(['evaluate', '--continuations', '1', ...size])
    expect(alone).toMatchObject({ code: 2, stderr: expect.stringContaining('give --plan') })
  })
})
