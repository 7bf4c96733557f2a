import { appendFile, mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { openLocalEngine } from '../../src/engine/localEngine.ts'
import { CalibrationError, OutputError } from '../../src/errors.ts'
import { planHash } from '../../src/export/exportRecord.ts'
import { exportGguf } from '../../src/export/gguf.ts'
import { exportHuggingFace } from '../../src/export/huggingface.ts'
import { exportMergekit } from '../../src/export/mergekit.ts'
import { exportNemotron } from '../../src/export/nemotron.ts'
import { exportOnnx } from '../../src/export/onnx.ts'
import { openGgufFile } from '../../src/format/gguf/openGgufFile.ts'
import { writeGguf } from '../../src/format/gguf/writeGguf.ts'
import { decodeOnnx } from '../../src/format/onnx/decode.ts'
import type { Engine } from '../../src/measures/measurement.ts'
import { openModel } from '../../src/model/load.ts'
import type { Model } from '../../src/model/model.ts'
import { emptyPlan } from '../../src/model/plan.ts'
import type { PruningPlan } from '../../src/types.ts'
import { checkContents, OtherPlanError } from '../../src/verify/checkContents.ts'
import { scoreInChild } from '../../src/verify/childProcess.ts'
import type { ScoreRequest } from '../../src/verify/consumer.ts'
import { describeResult, verifyExport } from '../../src/verify/verifyExport.ts'

let folder = ''
let brown: Model
let engine: Engine
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'verify-'))
  brown = await openModel('brown-llama', join(import.meta.dirname, '../../models/brown-llama'))
  engine = openLocalEngine(brown)
})
afterAll(async () => {
  await engine.close()
  await brown.weights.close()
  await rm(folder, { recursive: true })
})

const rows = { ids: Int32Array.from({ length: 32 }, (_, i) => (i * 611) % 4096), rows: 2, rowLength: 16 }
const plan: PruningPlan = { blocks: ['decoder.5.attention', 'decoder.5.mlp'], units: {} }

/** Changes `count` bytes of a file, from `position`, or so many before its end. */
async function damage(path: string, position: number, count: number): Promise<void> {
  const bytes = await readFile(path)
  const start = position < 0 ? bytes.length + position : position
  for (let i = start; i < start + count; i++) bytes[i]! ^= 0x55
  await writeFile(path, bytes)
}

/** A copy of a GGUF file that says nothing of its making. */
async function unrecorded(path: string, copy: string): Promise<void> {
  const file = await openGgufFile(path)
  const metadata = [...file.metadata].filter(([key]) => !key.startsWith('blockpruner.'))
  expect(file.metadata.size - metadata.length).toBe(3)
  const tensors = []
  for (const { name, type, shape } of file.tensors.values()) {
    const bytes = await file.readTensorBytes(name)
    tensors.push({ name, type, shape, data: () => [bytes] })
  }
  await file.close()
  await writeGguf(copy, new Map(metadata.map(([key, { value }]) => [key, value])), tensors)
}

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

  test('is refused with another plan, by what it says of itself or by its blocks', async () => {
    const path = join(folder, 'model.gguf')
    const verified = (asked: PruningPlan, of = brown) => verifyExport(path, of, asked, rows, { engine })
    await expect(verified(emptyPlan)).rejects.toThrow(OtherPlanError)
    await unrecorded(path, path)
    await expect(verified(emptyPlan)).rejects.toThrow(
      /has 22 blocks \(11 decoder attention, 11 decoder mlp\), the plan leaves 24/,
    )
    // of the same structure: layer 4 is gone instead of layer 5
    await expect(verified({ blocks: ['decoder.4.attention', 'decoder.4.mlp'], units: {} })).rejects.toThrow(
      /model\.layers\.4\.input_layernorm\.weight" \(F32\): \d+ of 128 weights are not those of the plan/,
    )
    const narrow = { ...plan, units: { 'decoder.2.mlp': [7] } }
    await expect(verified(narrow)).rejects.toThrow(/decoder\.2\.mlp has 352 channels, the plan leaves 351/)
    const [own] = await verified(plan)
    expect(own!.status).toBe('agrees')
  })

  test('is refused for another model, unless that is said to be the same in another format', async () => {
    const path = join(folder, 'model.gguf')
    await exportGguf(brown, plan, path, { type: 'F32', replace: true })
    const other = { ...brown, config: { ...brown.config, note: 1 } }
    await expect(verifyExport(path, other, plan, rows, { engine })).rejects.toThrow(
      /says that it was made of another model \(sha256 .*--allow-other-model/,
    )
    const [own] = await verifyExport(path, other, plan, rows, { engine, allowOtherModel: true })
    expect(own!.status).toBe('agrees')
  })

  test('agrees with the weights as they were rounded, and says how far those are from the plan', async () => {
    for (const [type, bits] of [
      ['Q8_0', 8],
      ['Q4_0', 4],
    ] as const) {
      const path = join(folder, `${type}.gguf`)
      await exportGguf(brown, plan, path, { type })
      const lines: string[] = []
      const [own] = await verifyExport(path, brown, plan, rows, { engine, onContents: (line) => lines.push(line) })
      expect(own).toMatchObject({ precision: type, status: 'agrees', agreement: { topOne: 1 } })
      expect(own!.agreement!.meanKl).toBeLessThan(own!.rounding!.meanKl / 1000)
      expect(describeResult(own!)).toMatch(
        `; the weights as stored are within ${bits}-bit rounding of the plan, not equal to it: top-1`,
      )
      expect(lines).toEqual([
        expect.stringMatching(
          /its plan and model are those given; its tokenizer gives the same \d+ ids; of \d+ tensors .* \d+ rounded/,
        ),
      ])
    }
  })

  test('is refused with a few damaged weights, whatever the type', async () => {
    for (const type of ['F32', 'BF16', 'Q8_0', 'Q4_0'] as const) {
      const path = join(folder, `damaged-${type}.gguf`)
      await exportGguf(brown, plan, path, { type })
      const file = await openGgufFile(path)
      await file.close()
      const { position, byteLength } = file.tensors.get('blk.3.ffn_up.weight')!
      await damage(path, position + Math.floor(byteLength / 2), 2)
      await expect(verifyExport(path, brown, plan, rows, { engine })).rejects.toThrow(
        /"model\.layers\.3\.mlp\.up_proj\.weight" \(\w+\): \d+ of 45056 weights are not those of the plan/,
      )
    }
  })

  test('is refused with a damaged weight of a block that only stands for a removed one', async () => {
    const path = join(folder, 'stub.gguf')
    const stubbed: PruningPlan = { blocks: ['decoder.3.mlp'], units: {} }
    await exportGguf(brown, stubbed, path)
    const file = await openGgufFile(path)
    await file.close()
    await damage(path, file.tensors.get('blk.3.ffn_gate.weight')!.position + 64, 1)
    await expect(verifyExport(path, brown, stubbed, rows, { engine })).rejects.toThrow(
      /gate_proj\.weight" is no weight of the plan, expected 0 in every place, found \S+ at 32/,
    )
  })

  test('disagrees where its metadata make other mathematics of the same weights', async () => {
    const path = join(folder, 'turned.gguf')
    await exportGguf({ ...brown, config: { ...brown.config, rms_norm_eps: 0.5 } }, plan, path, { type: 'F32' })
    const [own] = await verifyExport(path, brown, plan, rows, { engine, allowOtherModel: true })
    expect(own!.status).toBe('disagrees')
    expect(describeResult(own!)).toMatch(/disagrees, top-1 .*, expected at least/)
  })

  test('is refused for rows longer than the file was made for, and for a folder without an export', async () => {
    const path = join(folder, 'model.gguf')
    const long = { ids: new Int32Array(600), rows: 1, rowLength: 600 }
    await expect(verifyExport(path, brown, plan, long, { engine })).rejects.toThrow(CalibrationError)
    await mkdir(join(folder, 'empty'))
    await expect(verifyExport(join(folder, 'empty'), brown, plan, rows, { engine })).rejects.toThrow(OutputError)
  })
})

describe('the tokenizer of an export', () => {
  test('that gives other ids than the model is refused, whatever the format', async () => {
    const branch: PruningPlan = { blocks: ['decoder.5.attention'], units: {} }
    const exporters = {
      huggingface: (of: Model, path: string) => exportHuggingFace(of, branch, path),
      onnx: (of: Model, path: string) => exportOnnx(of, branch, path),
      nemotron: (of: Model, path: string) => exportNemotron(of, branch, path),
      gguf: (of: Model, path: string) => exportGguf(of, branch, `${path}.gguf`),
    }
    const text = Buffer.from(await brown.assets.get('tokenizer.json')!()).toString()
    const json = JSON.parse(text)
    // its merges are gone
    json.model.merges = []
    const other = {
      ...brown,
      assets: new Map([...brown.assets, ['tokenizer.json', async () => Buffer.from(JSON.stringify(json))]]),
    }
    for (const [format, write] of Object.entries(exporters)) {
      const path = join(folder, `tokens-${format}`)
      await write(other, path)
      const place = format === 'gguf' ? `${path}.gguf` : path
      await expect(checkContents(place, brown, branch), format).rejects.toThrow(
        /its tokenizer gives other ids than the model's, \[/,
      )
      const { ids } = await checkContents(place, other, branch)
      expect(ids).toBeGreaterThan(100)
    }
  })
})

describe('verifying folders for other software', () => {
  const branch: PruningPlan = { blocks: ['decoder.5.attention', 'decoder.2.mlp'], units: {} }
  const swapped: PruningPlan = { blocks: ['decoder.6.attention', 'decoder.2.mlp'], units: {} }
  const verified = (path: string, asked: PruningPlan) => verifyExport(path, brown, asked, rows, { engine })

  async function withoutRecord(path: string): Promise<void> {
    const file = join(path, 'config.json')
    const { blockpruner: record, ...config } = JSON.parse(await readFile(file, 'utf8'))
    expect(record).toMatchObject({ plan_sha256: expect.any(String), source_sha256: expect.any(String) })
    await writeFile(file, JSON.stringify(config))
  }

  test('refuses an ONNX folder of another plan, and one with damaged weights', async () => {
    const path = join(folder, 'onnx')
    await exportOnnx(brown, branch, path, { dtypes: ['fp32', 'q8', 'q4'] })
    const files = ['model.onnx', 'model_quantized.onnx', 'model_q4.onnx']
    for (const name of files) {
      const bytes = await readFile(join(path, 'onnx', name))
      const recorded = decodeOnnx(bytes, name).metadata.get('blockpruner.plan_sha256')
      expect(recorded).toBe(planHash(branch))
    }
    const lines: string[] = []
    const results = await verifyExport(path, brown, branch, rows, { engine, onContents: (line) => lines.push(line) })
    expect(results.map(({ precision }) => precision)).toEqual(['fp32', 'q8', 'q4'])
    expect(lines).toEqual([
      expect.stringMatching(/given; its tokenizer .* ids; \d{3,} tensors are the plan's, byte for byte/),
    ])
    await expect(verified(path, swapped)).rejects.toThrow(OtherPlanError)
    await damage(join(path, 'onnx', 'model_q4.onnx_data'), 100_000, 1)
    await expect(verified(path, branch)).rejects.toThrow(/model_q4\.onnx_data: the bytes of "\S+" are not those/)
    await withoutRecord(path)
    await expect(verified(path, emptyPlan)).rejects.toThrow(/has 22 caches, 24 expected/)
    await expect(verified(path, swapped)).rejects.toThrow(/model\.onnx: "\S+" is not (there|among)/)
  })

  test('refuses an ONNX graph of another plan beside the right record', async () => {
    const [path, other] = [join(folder, 'graph'), join(folder, 'other-graph')]
    const windows = { ...brown, config: { ...brown.config, rms_norm_eps: 1e-3 } }
    await exportOnnx(brown, branch, path)
    await exportOnnx(windows, branch, other)
    await writeFile(join(path, 'onnx/model.onnx'), await readFile(join(other, 'onnx/model.onnx')))
    await expect(verified(path, branch)).rejects.toThrow(/model\.onnx: (its graph|"\S+") is not/)
  })

  test('refuses a Nemotron folder of another plan, and one with damaged weights', async () => {
    const path = join(folder, 'nemotron')
    await exportNemotron(brown, branch, path)
    expect((await verified(path, branch)).map(({ status }) => status)).not.toContain('failed')
    await expect(verified(path, swapped)).rejects.toThrow(OtherPlanError)
    await damage(join(path, 'model.safetensors'), -1000, 1)
    await expect(verified(path, branch)).rejects.toThrow(/the bytes of "\S+" are not those of the plan/)
    await withoutRecord(path)
    await expect(verified(path, swapped)).rejects.toThrow(/"block_configs" is not what the plan leaves/)
  })

  test('refuses a recipe of other layers', async () => {
    const path = join(folder, 'mergekit.yaml')
    await exportMergekit(brown, plan, path)
    expect(await verified(path, plan)).toEqual([])
    await expect(verified(path, emptyPlan)).rejects.toThrow(OtherPlanError)
    await writeFile(path, (await readFile(path, 'utf8')).replace('[0, 5]', '[0, 4]'))
    await expect(verified(path, plan)).rejects.toThrow(/its slices are not what the plan leaves/)
  })
})

describe('verifying a folder', () => {
  const branch: PruningPlan = { blocks: ['decoder.5.attention'], units: {} }
  const exported = async (name: string): Promise<string> => {
    const path = join(folder, name)
    await exportHuggingFace(brown, branch, path)
    return path
  }
  const refusedFor = (path: string, asked: PruningPlan) =>
    expect(verifyExport(path, brown, asked, rows, { engine })).rejects
  const refused = (path: string) => expect(verifyExport(path, brown, branch, rows, { engine })).rejects

  test('agrees with the plan it was made of', async () => {
    const [own] = await verifyExport(await exported('own'), brown, branch, rows, { engine })
    expect(own).toMatchObject({ consumer: 'blockpruner', status: 'agrees' })
  })

  test('of several shards with a few damaged weights, or of another plan, is refused', async () => {
    const path = join(folder, 'shards')
    await exportHuggingFace(brown, branch, path, { maxShardBytes: 1e6 })
    const [own] = await verifyExport(path, brown, branch, rows, { engine })
    expect(own!.status).toBe('agrees')
    await refusedFor(path, { blocks: ['decoder.6.attention'], units: {} }).toThrow(OtherPlanError)
    const shards = (await readdir(path)).filter((name) => name.startsWith('model-')).toSorted()
    expect(shards.length).toBeGreaterThan(2)
    await damage(join(path, shards[1]!), -1000, 1)
    await refused(path).toThrow(/weights are not those of the plan; the file is damaged/)
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
