import type { FileHandle } from 'node:fs/promises'
import { mkdir, mkdtemp, readdir, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from 'vitest'
import { OutputError } from '../../src/errors.ts'
import { exportGguf } from '../../src/export/gguf.ts'
import { exportHuggingFace } from '../../src/export/huggingface.ts'
import { exportNemotron } from '../../src/export/nemotron.ts'
import { exportOnnx } from '../../src/export/onnx.ts'
import { openModel } from '../../src/model/load.ts'
import type { Model } from '../../src/model/model.ts'
import type { PruningPlan } from '../../src/types.ts'

type Open = typeof import('node:fs/promises').open
const real = await vi.importActual<{ open: Open }>('node:fs/promises')
const disk = vi.hoisted(() => ({ open: undefined as unknown }))
vi.mock('node:fs/promises', async (original) => {
  const actual = await original<{ open: Open }>()
  const open = (...args: Parameters<Open>): Promise<FileHandle> =>
    ((disk.open as Open | undefined) ?? actual.open)(...args)
  return { ...actual, open }
})

let folder = ''
let model: Model
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'disk-full-'))
  model = await openModel('brown-llama', join(import.meta.dirname, '../../models/brown-llama'))
})
afterEach(() => {
  disk.open = undefined
})
afterAll(async () => {
  await model.weights.close()
  await rm(folder, { recursive: true })
})

const plan: PruningPlan = { blocks: ['decoder.3.attention', 'decoder.4.mlp'], units: {} }

const exporters: Readonly<Record<string, (path: string) => Promise<unknown>>> = {
  huggingface: (path) => exportHuggingFace(model, plan, path, { replace: true, maxShardBytes: 2_000_000 }),
  nemotron: (path) => exportNemotron(model, plan, path, { replace: true }),
  gguf: (path) => exportGguf(model, plan, path, { replace: true }),
  onnx: (path) => exportOnnx(model, plan, path, { replace: true, dtypes: ['fp32', 'q8'] }),
}

/** The kernel's own ENOSPC: what does not fit into `room` bytes any more goes to /dev/full. */
function roomFor(room: number): { readonly taken: () => number } {
  let taken = 0
  disk.open = async (...args: Parameters<Open>) => {
    const handle = await real.open(...args)
    if (!String(args[0]).endsWith('.tmp')) return handle
    const write = handle.write.bind(handle) as (bytes: Uint8Array, at: number, length: number) => Promise<object>
    handle.write = (async (bytes: Uint8Array, at: number, length: number) => {
      if (taken + length <= room) {
        taken += length
        return write(bytes, at, length)
      }
      const full = await real.open('/dev/full', 'w')
      try {
        return await full.write(bytes, at, length)
      } finally {
        await full.close()
      }
    }) as never
    return handle
  }
  return { taken: () => taken }
}

describe.skipIf(process.platform !== 'linux')('a disk that fills up', () => {
  test.each(Object.entries(exporters))('in an export to %s is named, and nothing new is left', async (name, write) => {
    const root = join(folder, name)
    const path = join(root, 'export')
    await mkdir(root)
    const { taken } = roomFor(Number.POSITIVE_INFINITY)
    await write(path)
    const bytes = taken()
    expect(bytes).toBeGreaterThan(4e6)
    const before = await contentsOf(root)
    for (const replaced of [true, false]) {
      if (!replaced) await rm(path, { recursive: true })
      for (const share of [0, 0.01, 0.5, 0.9, 1 - 1 / bytes]) {
        roomFor(Math.floor(bytes * share))
        const error = await write(path).then(
          () => expect.fail(`did not fail with room for ${share}`),
          (reason: unknown) => reason,
        )
        expect(error).toBeInstanceOf(OutputError)
        expect((error as Error).message).toMatch(/disk full: .*\d+ are free; free some space, or write to another disk/)
        expect(await contentsOf(root)).toEqual(replaced ? before : {})
      }
    }
    disk.open = undefined
    await write(path)
    expect(await contentsOf(root)).toEqual(before)
  })
})

/** Sizes and first bytes of all files: enough to tell a whole export from a part of one. */
async function contentsOf(root: string): Promise<Record<string, string>> {
  const contents: Record<string, string> = {}
  for (const entry of await readdir(root, { recursive: true, withFileTypes: true })) {
    if (!entry.isFile()) continue
    const path = join(entry.parentPath, entry.name)
    const bytes = await readFile(path)
    contents[path] = `${bytes.length} ${bytes.subarray(0, 64).toString('hex')}`
  }
  return contents
}
