import { appendFile, mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { openForward } from '../../src/engine/forward.ts'
import { CalibrationError, OutputError } from '../../src/errors.ts'
import { exportGguf } from '../../src/export/gguf.ts'
import { exportHuggingFace } from '../../src/export/huggingface.ts'
import { openModel } from '../../src/model/load.ts'
import type { Model } from '../../src/model/model.ts'
import { emptyPlan } from '../../src/model/plan.ts'
import type { Engine, PruningPlan } from '../../src/types.ts'
import { scoreInChild } from '../../src/verify/childProcess.ts'
import type { ScoreRequest } from '../../src/verify/consumer.ts'
import { describeResult, verifyExport } from '../../src/verify/verifyExport.ts'

let folder = ''
let brown: Model
let engine: Engine
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'verify-'))
  brown = await openModel('brown-llama', join(import.meta.dirname, '../../models/brown-llama'))
  engine = openForward(brown)
})
afterAll(async () => {
  await engine.close()
  await brown.weights.close()
  await rm(folder, { recursive: true })
})

const rows = { ids: Int32Array.from({ length: 32 }, (_, i) => (i * 611) % 4096), rows: 2, rowLength: 16 }
const plan: PruningPlan = { blocks: ['decoder.5.attention', 'decoder.5.mlp'], units: {} }

describe('verifying a GGUF file', () => {
  test('agrees with the plan it was made of, and names every consumer', async () => {
    const path = join(folder, 'model.gguf')
    await exportGguf(brown, plan, path, { type: 'F32' })
    const seen: string[] = []
    const results = await verifyExport(path, brown, plan, rows, {
      engine,
      onResult: ({ consumer }) => seen.push(consumer),
    })
    expect(results[0]).toMatchObject({ consumer: 'blockpruner', precision: 'F32', status: 'agrees' })
    expect(results[0]!.agreement!.topOne).toBe(1)
    expect(seen).toEqual(['blockpruner', 'llama.cpp (node-llama-cpp)'])
    expect(describeResult(results[0]!)).toMatch(/agrees, top-1 100.0 %, mean KL .* nats over 32 positions/)
  })

  test('disagrees with another plan', async () => {
    const path = join(folder, 'model.gguf')
    const [result] = await verifyExport(path, brown, emptyPlan, rows, { engine })
    expect(result!.status).toBe('disagrees')
    expect(describeResult(result!)).toMatch(/expected at least 99 % and at most 0.0001/)
  })

  test('allows what rounding to eight bits does, and no more', async () => {
    const path = join(folder, 'eight.gguf')
    await exportGguf(brown, plan, path, { type: 'Q8_0' })
    const [right] = await verifyExport(path, brown, plan, rows, { engine })
    const [wrong] = await verifyExport(path, brown, emptyPlan, rows, { engine })
    expect([right!.precision, right!.status, wrong!.status]).toEqual(['Q8_0', 'agrees', 'disagrees'])
  })

  test('is refused for rows longer than the file was made for, and for a folder without an export', async () => {
    const path = join(folder, 'model.gguf')
    const long = { ids: new Int32Array(600), rows: 1, rowLength: 600 }
    await expect(verifyExport(path, brown, plan, long, { engine })).rejects.toThrow(CalibrationError)
    await mkdir(join(folder, 'empty'))
    await expect(verifyExport(join(folder, 'empty'), brown, plan, rows, { engine })).rejects.toThrow(OutputError)
  })
})

describe('verifying a folder', () => {
  const branch: PruningPlan = { blocks: ['decoder.5.attention'], units: {} }
  const exported = async (name: string): Promise<string> => {
    const path = join(folder, name)
    await exportHuggingFace(brown, branch, path)
    return path
  }
  const refused = (path: string) => expect(verifyExport(path, brown, branch, rows, { engine })).rejects

  test('agrees with the plan it was made of', async () => {
    const [own] = await verifyExport(await exported('own'), brown, branch, rows, { engine })
    expect(own).toMatchObject({ consumer: 'blockpruner', status: 'agrees' })
  })

  test('is refused where opening it would run code of another origin', async () => {
    const changed = await exported('changed')
    await appendFile(join(changed, 'modeling_blockpruner.py'), 'import os\n')
    await refused(changed).toThrow(
      /modeling_blockpruner\.py is of another origin, expected only code that this version/,
    )
    const added = await exported('added')
    await writeFile(join(added, 'tokenization_x.py'), '')
    await refused(added).toThrow(/tokenization_x\.py is of another origin/)
    const remote = await exported('remote')
    const config = JSON.parse(await readFile(join(remote, 'config.json'), 'utf8'))
    const auto_map = { AutoConfig: 'owner/name--modeling.Config' }
    await writeFile(join(remote, 'config.json'), JSON.stringify({ ...config, auto_map }))
    await refused(remote).toThrow(/config\.json names the code "owner\/name--modeling\.Config"/)
  })
})

describe('a consumer in a process of its own', () => {
  const request: ScoreRequest = {
    path: 'x',
    rows: { ...rows, rows: 1 },
    prediction: 'nextToken',
    width: 2,
    modulesFrom: [],
  }
  const score = (code: string, options = {}) => scoreInChild(process.execPath, ['-e', code], request, options)

  test('that aborts is reported, and takes only itself down', async () => {
    expect(await score('process.abort()')).toMatchObject({ failed: expect.stringMatching(/SIGABRT|code/) })
  })

  test('that throws is reported with its error', async () => {
    expect(await score('throw new Error("cannot load x")')).toEqual({
      failed: 'ended with code 1: Error: cannot load x',
    })
  })

  test('that says it is not there is skipped', async () => {
    const result = await score('console.log("not here"); process.exit(77)', { skipCode: 77 })
    expect(result).toEqual({ skipped: 'not here' })
  })

  test('that is not installed at all failed to start', async () => {
    const result = await scoreInChild('no-such-program', [], request)
    expect(result).toMatchObject({ failed: expect.stringMatching(/ENOENT/) })
  })

  test('gives its logits and its version', async () => {
    await writeFile(
      join(folder, 'program.cjs'),
      `
      const { readFileSync, writeFileSync } = require('node:fs')
      const { output, ids } = JSON.parse(readFileSync(0, 'utf8'))
      writeFileSync(output, new Uint8Array(Float32Array.from(ids.slice(0, 16).flatMap((id) => [id, 0])).buffer))
      console.log('version 1')
    `,
    )
    const result = await scoreInChild(process.execPath, [join(folder, 'program.cjs')], request)
    expect(result).toMatchObject({ version: 'version 1' })
    expect('logits' in result && result.logits[2]).toBe(611)
  })

  test('that gives too few logits failed', async () => {
    const code = `
      const { readFileSync, writeFileSync } = require('node:fs')
      writeFileSync(JSON.parse(readFileSync(0, 'utf8')).output, new Uint8Array(8))`
    expect(await score(code)).toEqual({ failed: 'gave 2 logits, expected 32' })
  })
})
