import { mkdir, mkdtemp, readdir, readFile, readlink, rm, writeFile } from 'node:fs/promises'
import { homedir, tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { CheckpointError } from '../../src/errors.ts'
import { resolveModel } from '../../src/model/hub.ts'
import { hubCachePath } from '../../src/model/hubCache.ts'
import type { HubProgress } from '../../src/model/hubProgress.ts'
import { commitOf, type FakeHub, startFakeHub } from '../data/fakeHub.ts'

const weights = new Uint8Array(20_000).map((_, i) => i * 7)
const commit = commitOf('main')
const older = commitOf('older')

const repositories = {
  'models/owner/small': {
    revisions: { main: commit, 'refs/pr/1': older },
    files: {
      'README.md': 'a model',
      'config.json': '{"model_type": "llama"}',
      'generation_config.json': '{}',
      'model.safetensors': weights,
      'model.fp16.safetensors': weights,
      'pytorch_model.bin': 'never read',
      'modeling.py': 'never run',
      'tokenizer.json': '{}',
      'tokenizer_config.json': '{"a": 1}',
      'onnx/model.safetensors': weights,
      LICENSE: 'do what you want',
    },
  },
  'models/owner/sharded': {
    revisions: { main: commit },
    files: {
      'config.json': '{}',
      'model.safetensors.index.json': '{"weight_map": {}}',
      'model-00001-of-00002.safetensors': weights,
      'model-00002-of-00002.safetensors': weights.slice(1),
      'consolidated.safetensors': weights.slice(2),
    },
  },
  'models/owner/quantised': {
    revisions: { main: commit },
    files: { 'small.Q8_0.gguf': weights, 'deep/small.Q4_0.gguf': weights.slice(3), 'README.md': '' },
  },
  'models/owner/pickled': { revisions: { main: commit }, files: { 'config.json': '{}', 'pytorch_model.bin': 'x' } },
  'models/owner/gated': {
    revisions: { main: commit },
    files: { 'config.json': '{}', 'model.safetensors': weights },
    token: 'hf_right',
  },
  'models/owner/escaping': { revisions: { main: commit }, files: { '../config.json': '{}' } },
}

let hub: FakeHub
let cache: string

beforeEach(async () => {
  hub = await startFakeHub(repositories)
  cache = await mkdtemp(join(tmpdir(), 'hub-'))
  vi.stubEnv('HF_ENDPOINT', hub.url)
  vi.stubEnv('HF_HUB_CACHE', cache)
  vi.stubEnv('HF_HUB_OFFLINE', '')
  vi.stubEnv('HF_TOKEN', '')
  vi.stubEnv('HF_TOKEN_PATH', join(cache, 'token'))
})

afterEach(async () => {
  vi.unstubAllEnvs()
  await hub.close()
  await rm(cache, { recursive: true, force: true })
})

const listCache = async () => {
  const names = await readdir(cache, { recursive: true, withFileTypes: true })
  return names
    .filter((entry) => !entry.isDirectory())
    .map((entry) => join(entry.parentPath, entry.name).slice(cache.length + 1))
}

describe('resolveModel', () => {
  test('returns a folder or a file that is here as it is', async () => {
    const file = join(cache, 'model.gguf')
    await writeFile(file, 'x')
    expect(await resolveModel(cache)).toBe(cache)
    expect(await resolveModel(file)).toBe(file)
    expect(hub.requests).toEqual([])
  })

  test('downloads configuration, weights and what an export carries along, and nothing else', async () => {
    const folder = await resolveModel('owner/small')
    expect(folder).toBe(join(cache, 'models--owner--small', 'snapshots', commit))
    expect((await readdir(folder)).sort()).toEqual([
      'LICENSE',
      'README.md',
      'config.json',
      'generation_config.json',
      'model.safetensors',
      'tokenizer.json',
      'tokenizer_config.json',
    ])
    expect(new Uint8Array(await readFile(join(folder, 'model.safetensors')))).toEqual(weights)
    expect(await readFile(join(folder, 'config.json'), 'utf8')).toBe('{"model_type": "llama"}')
  })

  test('lays the cache out as Python does: refs name commits, snapshots link to blobs named by their hashes', async () => {
    const folder = await resolveModel('owner/small')
    const root = join(cache, 'models--owner--small')
    expect(await readFile(join(root, 'refs', 'main'), 'utf8')).toBe(commit)
    // sha256 of the content for large files, git's blob hash for small ones
    expect(await readlink(join(folder, 'model.safetensors'))).toMatch(/^\.\.\/\.\.\/blobs\/[0-9a-f]{64}$/)
    expect(await readlink(join(folder, 'tokenizer.json'))).toBe('../../blobs/9e26dfeeb6e641a33dae4961196235bdb965b21b')
    expect((await listCache()).filter((name) => name.includes('.tmp'))).toEqual([])
  })

  test('takes shards with their index, and not a second copy of the weights', async () => {
    const folder = await resolveModel('owner/sharded')
    expect((await readdir(folder)).sort()).toEqual([
      'config.json',
      'model-00001-of-00002.safetensors',
      'model-00002-of-00002.safetensors',
      'model.safetensors.index.json',
    ])
  })

  test('downloads the one GGUF file that is named, folders included', async () => {
    const path = await resolveModel('owner/quantised:deep/small.Q4_0.gguf')
    expect(path.endsWith(`snapshots/${commit}/deep/small.Q4_0.gguf`)).toBe(true)
    expect(new Uint8Array(await readFile(path))).toEqual(weights.slice(3))
    await expect(resolveModel('owner/quantised:large.gguf')).rejects.toThrow(
      'owner/quantised: has no file "large.gguf"; its GGUF files are small.Q8_0.gguf, deep/small.Q4_0.gguf: add one after a colon',
    )
  })

  test('asks for the revision that is named', async () => {
    const folder = await resolveModel('owner/small', { revision: 'refs/pr/1' })
    expect(folder.endsWith(older)).toBe(true)
    expect(await readFile(join(cache, 'models--owner--small', 'refs', 'refs', 'pr', '1'), 'utf8')).toBe(older)
    await expect(resolveModel('owner/small', { revision: 'none' })).rejects.toThrow(
      'owner/small: the hub has no such model at revision "none" (404); check the name and the revision',
    )
    await expect(resolveModel('owner/small', { revision: '../../x' })).rejects.toThrow(
      'expected a branch, a tag or a commit',
    )
  })

  test('downloads nothing twice, and a commit that is cached asks nothing', async () => {
    await resolveModel('owner/small')
    hub.requests.length = 0
    await resolveModel('owner/small')
    expect(hub.requests.filter(({ line }) => line.includes('/resolve/'))).toEqual([])
    hub.requests.length = 0
    await resolveModel('owner/small', { revision: commit })
    expect(hub.requests).toEqual([])
  })

  test('reports bytes as they arrive, up to all of them', async () => {
    const reports: HubProgress[] = []
    await resolveModel('owner/sharded', { onProgress: (progress) => reports.push(progress) })
    const total = weights.length * 2 - 1 + 2 + 18
    expect(reports.at(-1)).toMatchObject({ doneBytes: total, totalBytes: total })
    expect(reports.every(({ doneBytes }, i) => doneBytes > (reports[i - 1]?.doneBytes ?? 0))).toBe(true)
  })

  test('does not show the token to the store that large files are redirected to', async () => {
    vi.stubEnv('HF_TOKEN', 'hf_right')
    await resolveModel('owner/gated')
    const [api, store] = [
      hub.requests.filter(({ line }) => !line.includes('/blobs/')),
      hub.requests.filter(({ line }) => line.includes('/blobs/')),
    ]
    expect(api.every(({ authorised }) => authorised)).toBe(true)
    expect(store.length).toBeGreaterThan(0)
    expect(store.some(({ authorised }) => authorised)).toBe(false)
  })

  test('takes the token that "hf auth login" left where HF_TOKEN has none', async () => {
    await writeFile(join(cache, 'token'), 'hf_right\n')
    await resolveModel('owner/gated')
    expect(hub.requests.filter(({ line }) => !line.includes('/blobs/')).every(({ authorised }) => authorised)).toBe(
      true,
    )
  })

  test('says how to get access', async () => {
    await expect(resolveModel('owner/gated')).rejects.toThrow(
      'owner/gated: the hub refuses access (401); if the name is right, the model is private or gated: accept its terms on its page, and set HF_TOKEN to an access token of that account, or log in with "hf auth login"',
    )
    vi.stubEnv('HF_TOKEN', 'hf_wrong')
    await expect(resolveModel('owner/gated')).rejects.toThrow('the hub refuses access (401)')
    await expect(resolveModel('owner/missing')).rejects.toThrow('no such model at revision "main" (404)')
    vi.stubEnv('HF_TOKEN', 'secret')
    await expect(resolveModel('owner/gated')).rejects.toThrow('owner/gated: HF_TOKEN: does not hold an access token')
  })

  test('says what a name that is neither path nor id could be', async () => {
    for (const name of ['./missing', '/missing/model', 'missing', 'owner/name/more', 'owner/name:model.bin']) {
      await expect(resolveModel(name)).rejects.toThrow(`${name}: is no folder and no file here`)
    }
    expect(hub.requests).toEqual([])
  })

  test('says what a repository without safetensors needs', async () => {
    await expect(resolveModel('owner/pickled')).rejects.toThrow(
      /no \*\.safetensors beside config\.json; its pickled weights are never opened/,
    )
    await expect(resolveModel('owner/quantised')).rejects.toThrow(
      /has no config.json.*small.Q8_0.gguf.*add one after a colon/,
    )
    expect(await listCache()).toEqual([])
  })

  test('refuses a path that leaves the cache', async () => {
    await expect(resolveModel('owner/escaping')).rejects.toThrow('names a file "../config.json"')
    expect(await listCache()).toEqual([])
  })

  test('goes on where a connection broke off', async () => {
    hub.breakOff = { times: 2, afterBytes: 6000 }
    const folder = await resolveModel('owner/small')
    expect(new Uint8Array(await readFile(join(folder, 'model.safetensors')))).toEqual(weights)
    const ranges = hub.requests.filter(({ line }) => line.includes('/blobs/')).map(({ range }) => range)
    expect(ranges).toContain(`bytes=${12_000}-${weights.length - 1}`)
  })

  test('leaves nothing in the cache that looks whole when a connection breaks off for good', async () => {
    hub.breakOff = { times: 100, afterBytes: 1000 }
    await expect(resolveModel('owner/small')).rejects.toThrow(/model.safetensors broke off after \d+ of 20000 bytes/)
    expect((await listCache()).filter((name) => !name.includes('/blobs/'))).toEqual([])
    expect((await listCache()).filter((name) => /[0-9a-f]{64}|\.tmp/.test(name))).toEqual([])
    hub.breakOff = { times: 0, afterBytes: 0 }
    await resolveModel('owner/small')
  })

  test('refuses content that is not what its hash says', async () => {
    await resolveModel('owner/small')
    const blob = (await readlink(join(cache, 'models--owner--small', 'snapshots', commit, 'model.safetensors')))
      .split('/')
      .at(-1)
    await rm(join(cache, 'models--owner--small'), { recursive: true })
    hub.replaced.set(
      blob as string,
      weights.map((byte) => byte + 1),
    )
    await expect(resolveModel('owner/small')).rejects.toThrow(
      /model.safetensors came with hash [0-9a-f]{64} and 20000 bytes, expected/,
    )
    expect((await listCache()).filter((name) => name.includes(blob as string))).toEqual([])
  })

  test('stops when it is told to, and leaves no half file', async () => {
    hub.pauseMs = 20
    const controller = new AbortController()
    const onProgress = ({ file }: HubProgress) => {
      if (file === 'model.safetensors') controller.abort(new Error('enough'))
    }
    await expect(resolveModel('owner/small', { signal: controller.signal, onProgress })).rejects.toThrow('enough')
    expect((await listCache()).filter((name) => /[0-9a-f]{64}|\.tmp/.test(name))).toEqual([])
  })

  test('serves many at once', async () => {
    hub.pauseMs = 1
    const folders = await Promise.all(Array.from({ length: 5 }, () => resolveModel('owner/small')))
    expect(new Set(folders).size).toBe(1)
    expect(new Uint8Array(await readFile(join(folders[0] as string, 'model.safetensors')))).toEqual(weights)
    expect((await listCache()).filter((name) => name.includes('.tmp'))).toEqual([])
  })
})

describe('resolveModel without a network', () => {
  test('takes what the cache has, under the name of the branch or the commit', async () => {
    const folder = await resolveModel('owner/small')
    hub.requests.length = 0
    vi.stubEnv('HF_HUB_OFFLINE', '1')
    expect(await resolveModel('owner/small')).toBe(folder)
    expect(await resolveModel('owner/small', { revision: commit })).toBe(folder)
    expect(hub.requests).toEqual([])
    await expect(resolveModel('owner/small', { revision: 'other' })).rejects.toThrow(
      `owner/small: HF_HUB_OFFLINE is set, and the cache ${cache} does not have revision other whole; unset it once to download, or name a local folder`,
    )
    await expect(resolveModel('owner/sharded')).rejects.toThrow(CheckpointError)
  })

  test('reads what Python downloaded, and does not take a part of the shards for the whole', async () => {
    const root = join(cache, 'models--python--made')
    const snapshot = join(root, 'snapshots', older)
    await mkdir(snapshot, { recursive: true })
    await mkdir(join(root, 'refs'), { recursive: true })
    await writeFile(join(root, 'refs', 'main'), older)
    await writeFile(join(snapshot, 'config.json'), '{}')
    vi.stubEnv('HF_HUB_OFFLINE', 'TRUE')
    await expect(resolveModel('python/made')).rejects.toThrow('does not have revision main whole')
    await writeFile(join(snapshot, 'model.safetensors.index.json'), '{}')
    await writeFile(join(snapshot, 'model-00001-of-00002.safetensors'), 'x')
    await expect(resolveModel('python/made')).rejects.toThrow('does not have revision main whole')
    await writeFile(join(snapshot, 'model-00002-of-00002.safetensors'), 'x')
    expect(await resolveModel('python/made')).toBe(snapshot)
  })

  test('falls back to the cache when the hub cannot be reached, and says so when that does not help', async () => {
    const folder = await resolveModel('owner/small')
    vi.stubEnv('HF_ENDPOINT', 'http://127.0.0.1:9')
    expect(await resolveModel('owner/small')).toBe(folder)
    await expect(resolveModel('owner/sharded')).rejects.toThrow(
      /^owner\/sharded: http:\/\/127.0.0.1:9 cannot be reached \(.+\), and the cache .* does not have revision main whole; check the network/,
    )
  })

  test('takes an id without an owner where the cache has it', async () => {
    const snapshot = join(cache, 'models--gpt2', 'snapshots', older)
    await mkdir(snapshot, { recursive: true })
    await mkdir(join(cache, 'models--gpt2', 'refs'))
    await writeFile(join(cache, 'models--gpt2', 'refs', 'main'), older)
    await writeFile(join(snapshot, 'config.json'), '{}')
    await writeFile(join(snapshot, 'model.safetensors'), 'x')
    vi.stubEnv('HF_HUB_OFFLINE', '1')
    expect(await resolveModel('gpt2')).toBe(snapshot)
    await expect(resolveModel('gpt3')).rejects.toThrow('gpt3: is no folder and no file here')
  })

  test.each([
    ['~', (home: string) => home],
    ['~/deep', (home: string) => join(home, 'deep')],
    ['$PLACE/deep', (home: string) => join(home, 'deep')],
    [`\${PLACE}`, (home: string) => home],
    ['~user', () => '~user'],
  ])('expands HF_HOME=%s as Python does', (value, path) => {
    vi.stubEnv('HF_HUB_CACHE', undefined)
    vi.stubEnv('HUGGINGFACE_HUB_CACHE', undefined)
    vi.stubEnv('HF_HOME', value)
    vi.stubEnv('PLACE', homedir())
    expect(hubCachePath()).toBe(join(path(homedir()), 'hub'))
  })

  test('finds the cache under HF_HOME', async () => {
    vi.stubEnv('HF_HUB_CACHE', undefined)
    vi.stubEnv('HF_HOME', cache)
    expect(await resolveModel('owner/small')).toBe(join(cache, 'hub', 'models--owner--small', 'snapshots', commit))
  })
})
