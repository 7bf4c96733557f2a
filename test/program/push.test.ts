import { mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { OutputError } from '../../src/errors.ts'
import { exportGguf } from '../../src/export/gguf.ts'
import { exportHuggingFace } from '../../src/export/huggingface.ts'
import { pushExport } from '../../src/export/push.ts'
import { openModel } from '../../src/model/load.ts'
import { blockpruner } from './commandLine.ts'
import { addRepository, type FakeUploadHub, startFakeUploadHub, tokens } from './fakeUploadHub.ts'

let hub: FakeUploadHub
let folder = ''
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'push-'))
  hub = await startFakeUploadHub()
  vi.stubEnv('HF_ENDPOINT', hub.url)
  vi.stubEnv('HF_HOME', join(folder, 'home'))
  vi.stubEnv('HF_TOKEN_PATH', '')
  vi.stubEnv('HF_TOKEN', tokens.write)
})
afterEach(async () => {
  vi.unstubAllEnvs()
  await hub.close()
  await rm(folder, { recursive: true })
})

const isLarge = (name: string) => name.endsWith('.safetensors')
const plan = { blocks: ['decoder.3.attention'], units: {} } as const

/** A small export: two shards, card, tokenizer. */
async function exported(): Promise<string> {
  const model = await openModel('brown-llama', join(import.meta.dirname, '../../models/brown-llama'))
  const path = join(folder, 'model')
  await exportHuggingFace(model, plan, path, { maxShardBytes: 3_000_000 })
  await model.weights.close()
  return path
}

function expectArrived(path: string, repository: string, branch = 'main'): void {
  const names = readdirSync(path).toSorted()
  expect(names.filter(isLarge).length).toBeGreaterThan(1)
  const arrived = hub.repositories.get(repository)?.branches.get(branch)
  expect([...(arrived?.keys() ?? [])].toSorted()).toEqual(names)
  for (const name of names) expect(arrived?.get(name)?.equals(readFileSync(join(path, name))), name).toBe(true)
}

async function refusal(path: string, repository = 'me/small', options = {}): Promise<string> {
  const error = await pushExport(path, repository, options).then(
    () => expect.fail('was not refused'),
    (reason: unknown) => reason,
  )
  expect(error).toBeInstanceOf(OutputError)
  expect(`${(error as Error).stack}`).not.toMatch(/hf_\w/)
  return (error as Error).message
}

describe('an export pushed', () => {
  test('arrives byte for byte in a repository made for it, with progress to the last byte', async () => {
    const path = await exported()
    const seen: number[] = []
    const pushed = await pushExport(path, 'me/small', {
      private: true,
      message: 'Without an attention',
      onProgress: ({ sentBytes }) => seen.push(sentBytes),
    })
    expectArrived(path, 'me/small')
    expect(hub.repositories.get('me/small')).toMatchObject({ private: true, messages: ['Without an attention'] })
    expect(pushed).toMatchObject({ commit: 'c0ffee', url: `${hub.url}/commit/c0ffee` })
    const large = readdirSync(path).filter(isLarge)
    const bytes = large.reduce((sum, name) => sum + readFileSync(join(path, name)).length, 0)
    expect(seen.at(-1)).toBe(bytes)
    expect(seen).toEqual(seen.toSorted((a, b) => a - b))
  })

  test('goes in parts where the hub asks for parts', async () => {
    hub.partBytes = 1_000_000
    const path = await exported()
    await pushExport(path, 'me/small')
    expectArrived(path, 'me/small')
  })

  test('goes to a branch, which is made once, and leaves main alone', async () => {
    addRepository(hub, 'me/small')
    const path = await exported()
    await pushExport(path, 'me/small', { branch: 'attention/3' })
    await pushExport(path, 'me/small', { branch: 'attention/3' })
    expectArrived(path, 'me/small', 'attention/3')
    expect(hub.repositories.get('me/small')?.branches.get('main')?.size).toBe(0)
  })

  test('may be one GGUF file, of a size that is hashed as it is read', async () => {
    const model = await openModel('brown-llama', join(import.meta.dirname, '../../models/brown-llama'))
    const { sizeBytes } = await exportGguf(model, plan, join(folder, 'small.gguf'), { type: 'F32' })
    // the hub's library holds smaller ones in memory
    expect(sizeBytes).toBeGreaterThan(10_000_000)
    await model.weights.close()
    await pushExport(join(folder, 'small.gguf'), 'me/small')
    const arrived = hub.repositories.get('me/small')?.branches.get('main')
    expect([...(arrived?.keys() ?? [])]).toEqual(['small.gguf'])
    expect(arrived?.get('small.gguf')?.equals(readFileSync(join(folder, 'small.gguf')))).toBe(true)
  })

  test('leaves hidden files behind', async () => {
    const path = await exported()
    mkdirSync(join(path, '.git'))
    writeFileSync(join(path, '.git', 'config'), 'x')
    const { files } = await pushExport(path, 'me/small')
    expect(files.filter((name) => name.includes('.git'))).toEqual([])
    expect(files).toContain('config.json')
  })
})

describe('a connection that breaks off', () => {
  test('is taken up again', async () => {
    hub.breakOff = { times: 2, afterBytes: 500_000, largerThan: 0 }
    const path = await exported()
    await pushExport(path, 'me/small')
    expectArrived(path, 'me/small')
  })

  test('for good leaves no commit, and the next push sends only what has not arrived', async () => {
    const path = await exported()
    const sizes = readdirSync(path)
      .filter(isLarge)
      .map((name) => statSync(join(path, name)).size)
    expect(sizes.length).toBe(2)
    // every try of the larger of two shards
    hub.breakOff = { times: 4, afterBytes: 500_000, largerThan: Math.min(...sizes) }
    expect(await refusal(path)).toMatch(/the connection to .* failed \(.*\); check the network and push again/)
    expect(hub.repositories.get('me/small')?.branches.get('main')?.size).toBe(0)
    expect(hub.breakOff.times).toBe(0)
    hub.requests.length = 0
    await pushExport(path, 'me/small')
    expectArrived(path, 'me/small')
    expect(hub.requests.filter((line) => line.startsWith('PUT'))).toHaveLength(1)
  })
})

describe('a push is refused', () => {
  test('without a token, and takes that of a login', async () => {
    const path = await exported()
    vi.stubEnv('HF_TOKEN', '')
    expect(await refusal(path)).toMatch(/needs an access token, found none; set HF_TOKEN/)
    expect(hub.requests).toEqual([])
    mkdirSync(join(folder, 'home'))
    writeFileSync(join(folder, 'home', 'token'), `${tokens.write}\n`)
    await pushExport(path, 'me/small')
    expectArrived(path, 'me/small')
  })

  test.each([
    [
      'a token that the hub does not know',
      { HF_TOKEN: 'hf_unknownToken' },
      'me/small',
      /does not know the access token \(401/,
    ],
    [
      'a token that may only read',
      { HF_TOKEN: tokens.read },
      'me/small',
      /may not write there \(403.*needs write access/,
    ],
    ['a token that is none', { HF_TOKEN: 'my password' }, 'me/small', /HF_TOKEN: does not hold an access token/],
    ['an owner that is not there', {}, 'nobody/small', /no such owner or repository \(404/],
    ['a name without an owner', {}, 'small', /small: is no repository, expected "owner\/name"/],
  ])('for %s', async (_, environment, repository, message) => {
    for (const [name, value] of Object.entries(environment)) vi.stubEnv(name, value)
    expect(await refusal(await exported(), repository)).toMatch(message)
  })

  test('when the hub cannot be reached', async () => {
    const path = await exported()
    vi.stubEnv('HF_ENDPOINT', 'http://127.0.0.1:9')
    expect(await refusal(path)).toMatch(/the connection to http:\/\/127.0.0.1:9 failed \(.*\); check the network/)
  })

  test('when the store refuses, without telling the signed address', async () => {
    hub.storeStatus = 403
    const message = await refusal(await exported())
    expect(message).toMatch(/the store for large files does not take one \(403\); nothing was committed/)
    expect(message).not.toContain('Signature')
  })

  test('when it should be private and is public already', async () => {
    addRepository(hub, 'me/small')
    const message = await refusal(await exported(), 'me/small', { private: true })
    expect(message).toMatch(/me\/small: is public, expected a private repository/)
    expect(hub.requests.filter((line) => !line.startsWith('GET'))).toEqual([])
  })

  test('for what is no export', async () => {
    const run = join(folder, 'run')
    mkdirSync(run)
    expect(await refusal(run)).toMatch(/run: is no export, expected/)
    writeFileSync(join(run, 'plan.json'), '{}')
    expect(await refusal(run)).toMatch(/is a run directory, expected one export; push its model\//)
    expect(await refusal(join(folder, 'nowhere'))).toMatch(/nowhere: cannot be opened \(ENOENT\)/)
    expect(hub.requests).toEqual([])
  })

  test('after Ctrl-C, with the reason of the abort', async () => {
    const controller = new AbortController()
    const reason = new Error('enough')
    const path = await exported()
    const aborted = pushExport(path, 'me/small', {
      signal: controller.signal,
      onProgress: () => controller.abort(reason),
    })
    await expect(aborted).rejects.toBe(reason)
    expect(hub.repositories.get('me/small')?.branches.get('main')?.size).toBe(0)
  })
})

test('the command prints the page of the commit, and never the token', async () => {
  const path = await exported()
  const pushed = await blockpruner(['push', path, 'me/small', '--message', 'One'])
  expect(pushed).toMatchObject({ code: 0 })
  expect(pushed.stdout).toMatch(/^\d+ files, \d+\.\d MB: http:\/\/127.0.0.1:\d+\/commit\/c0ffee\n$/)
  expect(pushed.stderr).toContain('uploading model-0000')
  vi.stubEnv('HF_TOKEN', 'hf_unknownToken')
  const refused = await blockpruner(['push', path, 'me/small', '--debug'])
  expect(refused.code).toBe(1)
  expect(refused.stderr).toContain('(401, "Invalid credentials: hf_…"')
  expect(pushed.stdout + pushed.stderr + refused.stdout + refused.stderr).not.toMatch(/hf_\w/)
})
