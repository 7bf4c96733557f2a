import { type FileHandle, mkdir, readdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterEach, describe, expect, it, vi } from 'vitest'
import { CheckpointError, OutputError } from '../../src/errors.ts'
import { stageFile, writeChunksAtomic, writeFileAtomic } from '../../src/format/atomicFile.ts'
import { outputFailure } from '../../src/format/outputFailure.ts'
import { scratchFolder } from './safetensors/rawFile.ts'

type Open = typeof import('node:fs/promises').open
const real = await vi.importActual<{ open: Open }>('node:fs/promises')
const fileSystem = vi.hoisted(() => ({ open: undefined as unknown }))
vi.mock('node:fs/promises', async (original) => {
  const actual = await original<{ open: Open }>()
  const open = (...args: Parameters<Open>): Promise<FileHandle> =>
    ((fileSystem.open as Open | undefined) ?? actual.open)(...args)
  return { ...actual, open }
})
afterEach(() => {
  fileSystem.open = undefined
})

async function rejection(promise: Promise<unknown>): Promise<unknown> {
  return promise.then(
    () => expect.fail('did not fail'),
    (error: unknown) => error,
  )
}

describe('a file written atomically', () => {
  it('holds the bytes or the text, and nothing is left beside it', async () => {
    const folder = await scratchFolder()
    await writeFileAtomic(join(folder, 'a'), Uint8Array.of(1, 2, 3))
    await writeFileAtomic(join(folder, 'b'), 'Grüße')
    await writeFileAtomic(join(folder, 'c'), '')
    expect(await readdir(folder)).toEqual(['a', 'b', 'c'])
    expect([...(await readFile(join(folder, 'a')))]).toEqual([1, 2, 3])
    expect(await readFile(join(folder, 'b'), 'utf8')).toBe('Grüße')
  })

  it('replaces what was there only when the last chunk is written and flushed', async () => {
    const folder = await scratchFolder()
    const path = join(folder, 'plan.json')
    await writeFile(path, 'before')
    const seen: string[] = []
    let synced = 0
    fileSystem.open = async (...args: Parameters<Open>) => {
      const handle = await real.open(...args)
      vi.spyOn(handle, 'sync').mockImplementation(async () => {
        synced++
        seen.push(`sync ${await readFile(path, 'utf8')}`)
      })
      return handle
    }
    async function* chunks() {
      for (const text of ['one ', 'two ', 'three']) {
        seen.push(await readFile(path, 'utf8'))
        yield new TextEncoder().encode(text)
      }
    }
    await writeChunksAtomic(path, chunks())
    expect(await readFile(path, 'utf8')).toBe('one two three')
    // the file before its name, the folder after it
    expect(seen).toEqual(['before', 'before', 'before', 'sync before', 'sync one two three'])
    expect(synced).toBe(2)
  })

  it('is written as often as the disk takes less than asked', async () => {
    const path = join(await scratchFolder(), 'a')
    fileSystem.open = async (...args: Parameters<Open>) => {
      const handle = await real.open(...args)
      const write = handle.write.bind(handle) as (b: Uint8Array, at: number, length: number) => Promise<unknown>
      handle.write = ((b: Uint8Array, at: number, length: number) => write(b, at, Math.min(length, 3))) as never
      return handle
    }
    await writeFileAtomic(path, '0123456789')
    expect(await readFile(path, 'utf8')).toBe('0123456789')
  })

  it('stays as it was when a chunk fails, and the error says what to do', async () => {
    const folder = await scratchFolder()
    const path = join(folder, 'a')
    await writeFile(path, 'before')
    async function* chunks(error: Error) {
      yield new Uint8Array(100_000)
      expect(await readdir(folder)).toHaveLength(2)
      throw error
    }
    const cause = new Error('the source\nfell over')
    const error = await rejection(writeChunksAtomic(path, chunks(cause)))
    expect(error).toBeInstanceOf(OutputError)
    expect((error as Error).message).toBe(
      `${path}: cannot be written (the source fell over); nothing was left behind; correct the cause and try again`,
    )
    expect((error as Error).cause).toBe(cause)
    const damaged = new CheckpointError('x: is damaged')
    expect(await rejection(writeChunksAtomic(path, chunks(damaged)))).toBe(damaged)
    expect(await readdir(folder)).toEqual(['a'])
    expect(await readFile(path, 'utf8')).toBe('before')
  })

  it('stays as it was when aborted, before or between chunks, with the reason of the abort', async () => {
    const folder = await scratchFolder()
    const path = join(folder, 'a')
    const reason = new Error('enough')
    expect(await rejection(writeFileAtomic(path, 'x', { signal: AbortSignal.abort(reason) }))).toBe(reason)
    const controller = new AbortController()
    let closed = false
    async function* chunks() {
      try {
        yield new Uint8Array(10)
        controller.abort(reason)
        yield new Uint8Array(10)
        expect.fail('was asked on after the abort')
      } finally {
        closed = true
      }
    }
    expect(await rejection(writeChunksAtomic(path, chunks(), { signal: controller.signal }))).toBe(reason)
    expect(closed).toBe(true)
    expect(await readdir(folder)).toEqual([])
  })

  it('names the folder that is not there', async () => {
    const path = join(await scratchFolder(), 'none', 'a')
    const error = await rejection(writeFileAtomic(path, 'x'))
    expect(error).toBeInstanceOf(OutputError)
    expect((error as Error).message).toMatch(/cannot be written \(ENOENT.*the folder does not exist: create it first/)
  })

  it('does not take the place of a folder', async () => {
    const folder = await scratchFolder()
    await mkdir(join(folder, 'a'))
    const error = await rejection(writeFileAtomic(join(folder, 'a'), 'x'))
    expect(error).toBeInstanceOf(OutputError)
    expect(await readdir(folder)).toEqual(['a'])
  })

  it('can be staged and thrown away', async () => {
    const folder = await scratchFolder()
    const staged = await stageFile(join(folder, 'a'), [Uint8Array.of(1)])
    expect(await readdir(folder)).toHaveLength(1)
    await staged.discard()
    expect(await readdir(folder)).toEqual([])
  })
})

describe('a full disk', () => {
  it('is named before writing where the size is known, with the bytes needed and free', async () => {
    const folder = await scratchFolder()
    const path = join(folder, 'a')
    const error = await rejection(writeChunksAtomic(path, [], { sizeBytes: 4e15 }))
    expect(error).toBeInstanceOf(OutputError)
    expect((error as Error).message).toMatch(/a: disk full: it needs 4000000000000000 bytes, \d+ are free; free some/)
    expect(await readdir(folder)).toEqual([])
  })

  // the kernel's own ENOSPC: the temporary is made, what is written to it goes to /dev/full
  it.skipIf(process.platform !== 'linux')('is named when it fills up while writing, and nothing is left', async () => {
    const folder = await scratchFolder()
    const path = join(folder, 'a')
    await writeFile(path, 'before')
    let made = 0
    fileSystem.open = async (...args: Parameters<Open>) => {
      if (!String(args[0]).endsWith('.tmp')) return real.open(...args)
      await (await real.open(...args)).close()
      made++
      return real.open('/dev/full', 'w')
    }
    const error = await rejection(writeFileAtomic(path, 'too much'))
    expect(error).toBeInstanceOf(OutputError)
    expect((error as Error).message).toMatch(
      /a: disk full: it needs 8 bytes, \d+ are free; free some space, or write to/,
    )
    expect((error as { cause: { code: string } }).cause.code).toBe('ENOSPC')
    expect(((await rejection(writeChunksAtomic(path, [Uint8Array.of(1)]))) as Error).message).toMatch(
      /it does not fit, \d+ are/,
    )
    expect(made).toBe(2)
    expect(await readdir(folder)).toEqual(['a'])
    expect(await readFile(path, 'utf8')).toBe('before')
  })
})

it.each([
  ['EACCES', 'permission denied: choose a folder you may write to'],
  ['EPERM', 'permission denied'],
  ['EROFS', 'the file system is read-only'],
  ['EDQUOT', 'the quota is used up'],
  ['EFBIG', 'ulimit -f'],
  ['EBUSY', 'name a folder inside it'],
  ['EIO', 'correct the cause and try again'],
  ['toString', 'correct the cause and try again'],
])('tells the cure for %s', async (code, cure) => {
  const cause = Object.assign(new Error(`${code}: said the system`), { code })
  const error = await outputFailure('out/model', cause)
  expect(error).toBeInstanceOf(OutputError)
  expect((error as Error).message).toContain(`out/model: cannot be written (${code}: said the system); `)
  expect((error as Error).message).toContain(cure)
  expect((error as Error).cause).toBe(cause)
})
