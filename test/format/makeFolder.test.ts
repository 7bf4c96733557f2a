import { mkdtemp, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { makeFolder } from '../../src/format/makeFolder.ts'

let folder: string
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'folders-'))
})
afterAll(() => rm(folder, { recursive: true, force: true }))

describe('makeFolder', () => {
  it('makes a folder and its parents, also when several ask at once, and leaves one that is there', async () => {
    const path = join(folder, 'a', 'b', 'c')
    await Promise.all([makeFolder(path), makeFolder(join(path, 'd')), makeFolder(path)])
    await makeFolder(path)
    expect((await stat(join(path, 'd'))).isDirectory()).toBe(true)
  })

  it('fails where a file is in the way', async () => {
    const file = join(folder, 'file')
    await writeFile(file, '')
    await expect(makeFolder(file)).rejects.toThrow('EEXIST')
    await expect(makeFolder(join(file, 'a', 'b'))).rejects.toThrow('ENOTDIR')
  })

  it.skipIf(process.platform !== 'linux')('fails where the system denies that a parent is there, at once', async () => {
    await expect(makeFolder('/proc/self/none/run')).rejects.toThrow('ENOENT')
  })
})
