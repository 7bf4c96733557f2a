import { spawnSync } from 'node:child_process'
import { mkdir, readdir, readFile, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { describe, expect, it } from 'vitest'
import { CheckpointError, OutputError } from '../../../src/errors.ts'
import { isSafetensorsType } from '../../../src/format/safetensors/dtypes.ts'
import { openSafetensors } from '../../../src/format/safetensors/read.ts'
import { type TensorSource, writeSafetensors } from '../../../src/format/safetensors/write.ts'
import type { WeightStore } from '../../../src/types.ts'
import { compileInto } from '../compiled.ts'
import { scratchFolder } from './rawFile.ts'

const fixtures = fileURLToPath(new URL('../../fixtures/safetensors', import.meta.url))

function sourcesOf(store: WeightStore): TensorSource[] {
  return [...store.tensors.values()].map(({ name, type, shape }) => {
    if (!isSafetensorsType(type)) throw new TypeError(type)
    return { name, type, shape, data: () => store.readBytes(name) }
  })
}

/** A float32 tensor of `length` times `value`. */
function constant(name: string, length: number, value = 1): TensorSource {
  const data = async (): Promise<Uint8Array> => new Uint8Array(new Float32Array(length).fill(value).buffer)
  return { name, type: 'F32', shape: [length], data }
}

describe('what is written', () => {
  it.each([
    'types.safetensors',
    'sharded/model-00001-of-00003.safetensors',
    'sharded/model-00002-of-00003.safetensors',
    'sharded/model-00003-of-00003.safetensors',
  ])('is, byte for byte, what Python safetensors wrote: %s', async (name) => {
    const folder = await scratchFolder()
    const store = await openSafetensors(join(fixtures, name))
    // the order given does not matter within a file
    expect(await writeSafetensors(folder, sourcesOf(store).reverse())).toEqual(['model.safetensors'])
    await store.close()
    const [found, expected] = await Promise.all([
      readFile(join(folder, 'model.safetensors')),
      readFile(join(fixtures, name)),
    ])
    expect(found.equals(expected)).toBe(true)
  })

  it('goes into shards in the order given, with the index transformers writes', async () => {
    const folder = await scratchFolder()
    const sources = [constant('d', 2), constant('c', 2), constant('b', 9), constant('a', 1), constant('9', 3)]
    const names = await writeSafetensors(folder, sources, { maxShardBytes: 16 })
    expect(names).toEqual([
      'model-00001-of-00003.safetensors',
      'model-00002-of-00003.safetensors',
      'model-00003-of-00003.safetensors',
      'model.safetensors.index.json',
    ])
    expect((await readdir(folder)).sort()).toEqual(names)
    expect(await readFile(join(folder, 'model.safetensors.index.json'), 'utf8')).toBe(`{
  "metadata": {
    "total_size": 68
  },
  "weight_map": {
    "9": "model-00003-of-00003.safetensors",
    "a": "model-00003-of-00003.safetensors",
    "b": "model-00002-of-00003.safetensors",
    "c": "model-00001-of-00003.safetensors",
    "d": "model-00001-of-00003.safetensors"
  }
}
`)
    const store = await openSafetensors(join(folder, 'model.safetensors.index.json'))
    expect([...store.tensors.keys()].sort()).toEqual(['9', 'a', 'b', 'c', 'd'])
    expect(Array.from(await store.read('b'))).toEqual(Array(9).fill(1))
    await store.close()
  })

  it('stays in one file when it fits exactly', async () => {
    const folder = await scratchFolder()
    expect(await writeSafetensors(folder, [constant('a', 2), constant('b', 2)], { maxShardBytes: 16 })).toEqual([
      'model.safetensors',
    ])
    expect(await writeSafetensors(await scratchFolder(), [])).toEqual(['model.safetensors'])
    // a tensor above the limit has a file of its own, also when it is the first
    expect(await writeSafetensors(await scratchFolder(), [constant('a', 9)], { maxShardBytes: 16 })).toHaveLength(1)
  })

  it('may replace the file it is read from', async () => {
    const folder = await scratchFolder()
    await writeSafetensors(folder, [constant('a', 1000, 1), constant('b', 1000, 2)])
    const store = await openSafetensors(join(folder, 'model.safetensors'))
    await writeSafetensors(
      folder,
      sourcesOf(store).filter(({ name }) => name === 'b'),
    )
    await store.close()
    const again = await openSafetensors(join(folder, 'model.safetensors'))
    expect([...again.tensors.keys()]).toEqual(['b'])
    expect((await again.read('b'))[999]).toBe(2)
    await again.close()
  })

  it('is asked for one tensor at a time, when the one before is in its file', async () => {
    const folder = await scratchFolder()
    const sizes: number[] = []
    const sources = ['a', 'b', 'c'].map((name): TensorSource => {
      const source = constant(name, 25_000)
      return {
        ...source,
        async data() {
          const files = await readdir(folder)
          const stats = await Promise.all(files.map((file) => stat(join(folder, file))))
          sizes.push(Math.floor(stats.reduce((sum, { size }) => sum + size, 0) / 100_000))
          return source.data()
        },
      }
    })
    const progress: number[][] = []
    await writeSafetensors(folder, sources, {
      maxShardBytes: 250_000,
      onProgress: (written, total) => progress.push([written, total]),
    })
    expect(sizes).toEqual([0, 1, 2])
    expect(progress).toEqual([
      [100_000, 300_000],
      [200_000, 300_000],
      [300_000, 300_000],
    ])
  })
})

describe('nothing is left', () => {
  it.each([
    [
      'an error',
      new Error('fell over'),
      OutputError,
      /model-00002-of-00002.safetensors: cannot be written \(fell over\)/,
    ],
    ['a damaged source', new CheckpointError('x: is damaged'), CheckpointError, /^x: is damaged$/],
  ])('when a tensor ends in %s, not even the shards before it', async (_, cause, type, message) => {
    const folder = await scratchFolder()
    const failing: TensorSource = { ...constant('b', 10), data: () => Promise.reject(cause) }
    const writing = writeSafetensors(folder, [constant('a', 10), failing], { maxShardBytes: 40 })
    await expect(writing).rejects.toThrow(message)
    await expect(writing).rejects.toBeInstanceOf(type)
    expect(await readdir(folder)).toEqual([])
  })

  it('when a tensor comes with too few or too many bytes', async () => {
    const folder = await scratchFolder()
    for (const length of [36, 44]) {
      const wrong: TensorSource = { ...constant('a', 10), data: async () => new Uint8Array(length) }
      await expect(writeSafetensors(folder, [wrong])).rejects.toThrow(
        `model.safetensors: tensor "a" came with ${length} bytes, expected 40 for F32 [10]`,
      )
    }
    expect(await readdir(folder)).toEqual([])
  })

  it('when aborted: the next tensor is not asked for', async () => {
    const folder = await scratchFolder()
    const controller = new AbortController()
    const reason = new Error('enough')
    const a: TensorSource = {
      ...constant('a', 10),
      async data() {
        controller.abort(reason)
        return new Uint8Array(40)
      },
    }
    const b: TensorSource = { ...constant('b', 10), data: () => expect.fail('was asked for') }
    await expect(writeSafetensors(folder, [a, b], { signal: controller.signal })).rejects.toBe(reason)
    expect(await readdir(folder)).toEqual([])
  })

  it('when the disk has not enough space for all shards, which is found before the first is made', async () => {
    const folder = await scratchFolder()
    const large = (name: string): TensorSource => ({
      name,
      type: 'BF16',
      shape: [2 ** 25, 2 ** 23],
      data: () => expect.fail('was asked for'),
    })
    const writing = writeSafetensors(folder, [large('a'), large('b')])
    await expect(writing).rejects.toThrow(/disk full: it needs 1125899906842624 bytes, \d+ are free; free some space/)
    await expect(writing).rejects.toBeInstanceOf(OutputError)
    expect(await readdir(folder)).toEqual([])
  })

  // a limit of the kernel on the size of a file: the write itself fails, in the middle of a tensor
  it.skipIf(process.platform === 'win32')(
    'when the system refuses to write on',
    async () => {
      const compiled = await scratchFolder()
      const folder = await scratchFolder()
      await compileInto(compiled, ['format/safetensors/write.ts'])
      await writeFile(
        join(compiled, 'child.js'),
        `import { writeSafetensors } from './src/format/safetensors/write.js'
      process.on('SIGXFSZ', () => {})
      const tensor = (name, length) => ({ name, type: 'U8', shape: [length], data: async () => new Uint8Array(length) })
      const error = await writeSafetensors(process.argv[2], [tensor('a', 1000), tensor('b', 3000000)], { maxShardBytes: 1000 })
        .then(() => undefined, (error) => error)
      console.log(JSON.stringify({ name: error?.name, message: error?.message, code: error?.cause?.code }))`,
      )
      // the unit is 512 or 1024 bytes, by shell
      const child = spawnSync('sh', [
        '-c',
        'ulimit -f 1024 && exec "$0" "$@"',
        process.execPath,
        join(compiled, 'child.js'),
        folder,
      ])
      expect(child.stderr.toString()).toBe('')
      const { name, message, code } = JSON.parse(child.stdout.toString()) as Record<string, string>
      expect([name, code]).toEqual(['OutputError', 'EFBIG'])
      expect(message).toMatch(
        /model-00002-of-00002.safetensors: cannot be written \(EFBIG.*\); the file is larger than this pro/,
      )
      expect(await readdir(folder)).toEqual([])
    },
    30_000,
  )
})

describe('nothing is begun', () => {
  it('where weights of another model would be loaded in place of ours', async () => {
    for (const other of ['model.safetensors', 'model-00001-of-00009.safetensors', 'model.safetensors.index.json']) {
      const folder = await scratchFolder()
      await writeFile(join(folder, other), '')
      const writing = writeSafetensors(folder, [constant('a', 1), constant('b', 1)], {
        maxShardBytes: other === 'model.safetensors' ? 4 : 8,
      })
      await expect(writing).rejects.toThrow(`${folder}: holds ${other} from another model, expected no weights beside`)
      await expect(writing).rejects.toBeInstanceOf(OutputError)
    }
  })

  it('where the folder cannot be made', async () => {
    const folder = await scratchFolder()
    await writeFile(join(folder, 'file'), '')
    await expect(writeSafetensors(join(folder, 'file', 'model'), [])).rejects.toThrow(
      /ENOTDIR.*a part of the path is a file/,
    )
    await mkdir(join(folder, 'made'))
    await expect(writeSafetensors(join(folder, 'file'), [])).rejects.toBeInstanceOf(OutputError)
  })

  it('for tensors that no file could hold, which is a mistake of the caller', async () => {
    const folder = await scratchFolder()
    const wrong: [readonly TensorSource[], string][] = [
      [[constant('a', 1), constant('a', 2)], 'tensor "a" is given twice'],
      [[constant('__metadata__', 1)], 'tensor "__metadata__" is given twice or has a reserved name'],
      [[{ ...constant('a', 1), shape: [-1] }], 'tensor "a" cannot be of type F32 and shape [-1]'],
      [[{ ...constant('a', 1), shape: [2 ** 53] }], 'tensor "a" cannot be of type F32'],
      [[{ ...constant('a', 1), type: 'Q4_0' as 'F32' }], 'tensor "a" cannot be of type Q4_0'],
    ]
    for (const [tensors, message] of wrong) {
      await expect(writeSafetensors(folder, tensors)).rejects.toThrow(message)
      await expect(writeSafetensors(folder, tensors)).rejects.toBeInstanceOf(RangeError)
    }
    await expect(writeSafetensors(folder, [], { maxShardBytes: Number.NaN })).rejects.toBeInstanceOf(RangeError)
    expect(await readdir(folder)).toEqual([])
  })
})
