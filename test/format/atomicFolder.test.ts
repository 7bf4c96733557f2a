import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { mkdir, mkdtemp, readdir, readFile, rm, symlink, utimes, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it, onTestFinished, vi } from 'vitest'
import { CheckpointError, OutputError } from '../../src/errors.ts'
import { publishFolder } from '../../src/format/atomicFolder.ts'
import { removeLeftovers, temporaryBeside } from '../../src/format/temporaries.ts'
import { compileInto } from './compiled.ts'
import { scratchFolder } from './safetensors/rawFile.ts'

const fileSystem = vi.hoisted(() => ({ renameFails: undefined as ((from: string) => Error | undefined) | undefined }))
vi.mock('node:fs/promises', async (original) => {
  const actual = await original<typeof import('node:fs/promises')>()
  async function rename(from: string, to: string): Promise<void> {
    const error = fileSystem.renameFails?.(from)
    if (error !== undefined) throw error
    await actual.rename(from, to)
  }
  return { ...actual, rename }
})

async function fillWith(folder: string, content: string): Promise<void> {
  await mkdir(join(folder, 'onnx'))
  for (const name of ['a', 'b', 'onnx/c']) await writeFile(join(folder, name), content)
}

async function contentOf(folder: string): Promise<string[]> {
  return Promise.all(['a', 'b', 'onnx/c'].map((name) => readFile(join(folder, name), 'utf8')))
}

describe('a folder published', () => {
  it('appears whole, parents included, and nothing is left beside it', async () => {
    const root = await scratchFolder()
    const path = join(root, 'runs', 'model')
    const result = await publishFolder(path, async (folder) => {
      await fillWith(folder, 'new')
      expect(existsSync(path)).toBe(false)
      return 42
    })
    expect(result).toBe(42)
    expect(await contentOf(path)).toEqual(['new', 'new', 'new'])
    expect(await readdir(join(root, 'runs'))).toEqual(['model'])
  })

  it('takes the place of an empty folder', async () => {
    const root = await scratchFolder()
    await mkdir(join(root, 'model'))
    await publishFolder(join(root, 'model'), (folder) => fillWith(folder, 'new'))
    expect(await contentOf(join(root, 'model'))).toEqual(['new', 'new', 'new'])
    expect(await readdir(root)).toEqual(['model'])
  })

  it('does not touch a folder with files in it unless asked to', async () => {
    const root = await scratchFolder()
    const path = join(root, 'model')
    await mkdir(path)
    await writeFile(join(path, 'thesis.tex'), 'mine')
    const refused = publishFolder(path, () => expect.fail('was asked to fill'))
    await expect(refused).rejects.toThrow(`${path}: has 1 files (thesis.tex …), expected a new or an empty folder`)
    await expect(refused).rejects.toBeInstanceOf(OutputError)
    await publishFolder(path, (folder) => fillWith(folder, 'new'), { replace: true })
    expect(await readdir(path)).toEqual(['a', 'b', 'onnx'])
    expect(await readdir(root)).toEqual(['model'])
  })

  it('replaces what a link points to, and the link stays', async () => {
    const root = await scratchFolder()
    await mkdir(join(root, 'real'))
    await symlink(join(root, 'real'), join(root, 'link'))
    await publishFolder(join(root, 'link'), (folder) => fillWith(folder, 'new'))
    expect(await contentOf(join(root, 'real'))).toEqual(['new', 'new', 'new'])
    expect(await readdir(root)).toEqual(['link', 'real'])
  })

  it('is refused where a file is in the way', async () => {
    const root = await scratchFolder()
    await writeFile(join(root, 'model'), 'mine')
    for (const path of [join(root, 'model'), join(root, 'model', 'below')]) {
      await expect(publishFolder(path, async () => {}, { replace: true })).rejects.toBeInstanceOf(OutputError)
    }
    expect(await readFile(join(root, 'model'), 'utf8')).toBe('mine')
    expect(await readdir(root)).toEqual(['model'])
  })

  it.each([
    ['an error', new Error('broken'), OutputError],
    ["an error of the toolkit's own", new CheckpointError('damaged'), CheckpointError],
  ])('leaves everything as it was when filling it ends in %s', async (_, cause, type) => {
    const root = await scratchFolder()
    const path = join(root, 'model')
    await publishFolder(path, (folder) => fillWith(folder, 'old'))
    const failing = publishFolder(
      path,
      async (folder) => {
        await fillWith(folder, 'new')
        throw cause
      },
      { replace: true },
    )
    await expect(failing).rejects.toBeInstanceOf(type)
    expect(await contentOf(path)).toEqual(['old', 'old', 'old'])
    expect(await readdir(root)).toEqual(['model'])
  })

  it('leaves the old one in place when the new one cannot take it', async () => {
    const root = await scratchFolder()
    const path = join(root, 'model')
    await publishFolder(path, (folder) => fillWith(folder, 'old'))
    const cause = Object.assign(new Error('EBUSY: busy'), { code: 'EBUSY' })
    fileSystem.renameFails = (from) => (from.endsWith('.tmp') ? cause : undefined)
    onTestFinished(() => {
      fileSystem.renameFails = undefined
    })
    const failing = publishFolder(path, (folder) => fillWith(folder, 'new'), { replace: true })
    await expect(failing).rejects.toThrow(`${path}: cannot be written (EBUSY: busy); a mounted or busy folder`)
    expect(await contentOf(path)).toEqual(['old', 'old', 'old'])
    expect(await readdir(root)).toEqual(['model'])
  })

  it('leaves everything as it was when aborted', async () => {
    const root = await scratchFolder()
    const controller = new AbortController()
    const reason = new Error('enough')
    const aborted = publishFolder(
      join(root, 'model'),
      async (folder) => {
        await fillWith(folder, 'new')
        controller.abort(reason)
      },
      { signal: controller.signal },
    )
    await expect(aborted).rejects.toBe(reason)
    expect(await readdir(root)).toEqual([])
  })
})

describe('leftovers', () => {
  /** A process id that was in use and is no more. */
  async function deadPid(): Promise<number> {
    const child = spawn(process.execPath, ['--version'], { stdio: 'ignore' })
    await once(child, 'exit')
    return child.pid!
  }

  const named = (path: string, pid: number, kind: 'tmp' | 'old'): string =>
    temporaryBeside(path, kind).replace(/-\d+-/, `-${pid}-`)

  it('of dead processes are removed, those of running ones and all other files stay', async () => {
    const path = join(await scratchFolder(), 'model')
    const deadAlready = await deadPid()
    const dead = named(path, deadAlready, 'tmp')
    const stay = [
      temporaryBeside(path, 'tmp'),
      named(path, process.ppid, 'tmp'),
      named(path, deadAlready, 'tmp').replace(/\.[0-9a-f]{8}-/, '.00000000-'),
      `${path}.tmp`,
      `${path}.backup-1-00000000.tmp`,
      named(`${path}2`, 999_999_999, 'tmp'),
    ]
    for (const file of [dead, ...stay]) await writeFile(file, '')
    await removeLeftovers(path)
    expect(existsSync(dead)).toBe(false)
    expect(stay.filter((file) => !existsSync(file))).toEqual([])
  })

  it('of another machine or of a process id used again are removed when nobody could be writing them', async () => {
    const path = join(await scratchFolder(), 'model')
    const elsewhere = temporaryBeside(path, 'tmp').replace(/\.[0-9a-f]{8}-/, '.00000000-')
    const again = temporaryBeside(path, 'tmp')
    const now = Date.now() / 1000
    await writeFile(elsewhere, '')
    await utimes(elsewhere, now, now - 25 * 3600)
    await writeFile(again, '')
    await utimes(again, now, now - process.uptime() - 10)
    await removeLeftovers(path)
    expect([elsewhere, again].filter((file) => existsSync(file))).toEqual([])
  })

  it('set aside by a killed process are put back where nothing took their place, else removed', async () => {
    const path = join(await scratchFolder(), 'model')
    await mkdir(named(path, await deadPid(), 'old'))
    const aside = (await readdir(join(path, '..')))[0]!
    await fillWith(join(path, '..', aside), 'old')
    await removeLeftovers(path)
    expect(await contentOf(path)).toEqual(['old', 'old', 'old'])
    await mkdir(named(path, await deadPid(), 'old'))
    await removeLeftovers(path)
    expect(await readdir(join(path, '..'))).toEqual(['model'])
    expect(await contentOf(path)).toEqual(['old', 'old', 'old'])
  })
})

describe('a process killed with SIGKILL', () => {
  let compiled = ''
  beforeAll(async () => {
    compiled = await mkdtemp(join(tmpdir(), 'blockpruner-test-'))
    await compileInto(compiled, ['format/atomicFolder.ts'])
    await writeFile(
      join(compiled, 'child.js'),
      `import { mkdir, writeFile } from 'node:fs/promises'
      import { join } from 'node:path'
      import { publishFolder } from './src/format/atomicFolder.js'
      const [path, mode] = process.argv.slice(2)
      for (let version = 1; ; version++) {
        await publishFolder(path, async (folder) => {
          await mkdir(join(folder, 'onnx'))
          for (const name of ['a', 'b', 'onnx/c']) {
            await writeFile(join(folder, name), String(version))
            if (mode === 'stop') process.stdout.write('.')
            if (mode === 'stop') await new Promise((resolve) => setTimeout(resolve, 60_000))
          }
        }, { replace: true })
        process.stdout.write('.')
      }`,
    )
  }, 30_000)
  afterAll(() => rm(compiled, { recursive: true, force: true }))

  function start(path: string, mode: string): ChildProcess {
    const child = spawn(process.execPath, [join(compiled, 'child.js'), path, mode], {
      stdio: ['ignore', 'pipe', 'inherit'],
    })
    onTestFinished(() => void child.kill('SIGKILL'))
    return child
  }

  async function killed(child: ChildProcess): Promise<void> {
    child.kill('SIGKILL')
    if (child.exitCode === null && child.signalCode === null) await once(child, 'exit')
    expect(child.signalCode).toBe('SIGKILL')
  }

  it('in the middle of filling leaves no folder, and the next one cleans up after it', async () => {
    const root = await scratchFolder()
    const path = join(root, 'model')
    const child = start(path, 'stop')
    await once(child.stdout!, 'data')
    await killed(child)
    expect(existsSync(path)).toBe(false)
    expect(await readdir(root)).toHaveLength(1)
    await publishFolder(path, (folder) => fillWith(folder, 'new'))
    expect(await readdir(root)).toEqual(['model'])
    expect(await contentOf(path)).toEqual(['new', 'new', 'new'])
  })

  it('at any moment of replacing leaves one whole version', async () => {
    const root = await scratchFolder()
    const path = join(root, 'model')
    const versions = new Set<string>()
    const leftBehind = new Set<number>()
    for (let round = 0; round < 12; round++) {
      const child = start(path, 'loop')
      await once(child.stdout!, 'data')
      await new Promise((resolve) => setTimeout(resolve, (round * 7) % 30))
      await killed(child)
      leftBehind.add((await readdir(root)).length)
      await removeLeftovers(path)
      const content = await contentOf(path)
      expect(new Set(content).size, content.join()).toBe(1)
      versions.add(content[0]!)
      expect(await readdir(root)).toEqual(['model'])
    }
    // kills that never met a half-written folder would have proved nothing
    expect(Math.max(...leftBehind)).toBeGreaterThan(1)
    expect(versions.size).toBeGreaterThan(1)
  }, 30_000)
})
