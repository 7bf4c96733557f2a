import { copyFile, readdir, readFile, rm, truncate, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { describe, expect, it } from 'vitest'
import { CheckpointError } from '../../../src/errors.ts'
import { openSafetensors } from '../../../src/format/safetensors/read.ts'
import { rawFile, scratchFolder, writeRaw } from './rawFile.ts'

const fixtures = fileURLToPath(new URL('../../fixtures/safetensors', import.meta.url))
const golden = JSON.parse(await readFile(join(fixtures, 'expected.json'), 'utf8'))

/** The error of opening, which must be the toolkit's own and fit one line. */
async function refusal(path: string): Promise<string> {
  const error: unknown = await openSafetensors(path).then(
    (store) => store.close(),
    (reason: unknown) => reason,
  )
  expect(error).toBeInstanceOf(CheckpointError)
  const { message } = error as CheckpointError
  expect(message).not.toMatch(/[\n\r\u2028]/)
  expect(message.length).toBeLessThan(700)
  return message
}

const f32 = (begin: number, end: number, shape: unknown = [(end - begin) / 4]): unknown => ({
  dtype: 'F32',
  shape,
  data_offsets: [begin, end],
})

describe('a file written by Python safetensors', () => {
  it('lists every tensor with type and shape, and gives its stored bytes', async () => {
    const store = await openSafetensors(join(fixtures, 'types.safetensors'))
    const readers = {
      F64: (b: ArrayBuffer) => new Float64Array(b),
      F32: (b: ArrayBuffer) => new Float32Array(b),
      I64: (b: ArrayBuffer) => new BigInt64Array(b),
      I32: (b: ArrayBuffer) => new Int32Array(b),
      I16: (b: ArrayBuffer) => new Int16Array(b),
      I8: (b: ArrayBuffer) => new Int8Array(b),
      U8: (b: ArrayBuffer) => new Uint8Array(b),
      BOOL: (b: ArrayBuffer) => new Uint8Array(b),
    } as Record<string, (b: ArrayBuffer) => ArrayLike<number | bigint>>
    expect([...store.tensors.keys()].sort()).toEqual(Object.keys(golden.types).sort())
    for (const { name, type, shape } of store.tensors.values()) {
      expect(shape, name).toEqual(golden.types[name].shape)
      if (type === 'F16' || type === 'BF16') continue
      const bytes = await store.readBytes(name)
      expect(Array.from(readers[type]!(bytes.buffer), Number), name).toEqual(golden.types[name].values)
    }
    await store.close()
  })

  it('widens F32, F16 and BF16 to the values PyTorch has for them', async () => {
    const store = await openSafetensors(join(fixtures, 'types.safetensors'))
    const weights = [...store.tensors.values()].filter(({ type }) => ['F32', 'F16', 'BF16'].includes(type))
    expect(weights.map(({ type }) => type)).toEqual(['F32', 'F32', 'F32', 'F32', 'F32', 'BF16', 'BF16', 'F16'])
    for (const { name } of weights) expect(Array.from(await store.read(name)), name).toEqual(golden.types[name].values)
    await store.close()
  })

  it('refuses to read integers and float64 as weights, and says what it would read', async () => {
    const path = join(fixtures, 'types.safetensors')
    const store = await openSafetensors(path)
    for (const name of ['i64', 'i32', 'i16', 'i8', 'u8', 'bool', 'f64']) {
      await expect(store.read(name)).rejects.toThrow(
        `${path}: tensor "${name}" is stored as "${name.toUpperCase()}", expected F32, F16, BF16 for a weight; convert`,
      )
      await expect(store.read(name)).rejects.toBeInstanceOf(CheckpointError)
    }
    await store.close()
  })

  it('opens a file with types it does not know, and names them when asked for their tensors', async () => {
    const store = await openSafetensors(join(fixtures, 'foreign.safetensors'))
    expect([...store.tensors.keys()]).toEqual(['weight'])
    expect(Array.from(await store.read('weight'))).toEqual([1, 1])
    await expect(store.read('float8')).rejects.toThrow(
      'tensor "float8" is stored as "F8_E4M3", expected F32, F16, BF16',
    )
    await expect(store.readBytes('unsigned')).rejects.toThrow(
      'tensor "unsigned" is stored as "U16", expected one of F64',
    )
    await store.close()
  })

  it('names the tensor that is not there', async () => {
    const store = await openSafetensors(join(fixtures, 'foreign.safetensors'))
    await expect(store.read('toString')).rejects.toThrow('foreign.safetensors: has no tensor "toString" among its 3')
    await store.close()
    await expect(store.read('weight')).rejects.toBeInstanceOf(CheckpointError)
  })
})

describe('shards written by transformers', () => {
  const index = join(fixtures, 'sharded', 'model.safetensors.index.json')

  it('are read as one store', async () => {
    const store = await openSafetensors(index)
    expect(store.files.map((file) => file.slice(-32))).toEqual([
      'model-00001-of-00003.safetensors',
      'model-00002-of-00003.safetensors',
      'model-00003-of-00003.safetensors',
    ])
    expect(store.tensors.size).toBe(21)
    for (const [name, { shape, sum, first }] of Object.entries<{ shape: number[]; sum: number; first: number }>(
      golden.sharded,
    )) {
      const values = await store.read(name)
      expect(store.tensors.get(name)).toEqual({ name, type: 'BF16', shape })
      expect(values[0], name).toBe(first)
      // measured: equal up to the order of summation in float64
      expect(
        values.reduce((total, value) => total + value, 0),
        name,
      ).toBeCloseTo(sum, 12)
    }
    await store.close()
  })

  async function copyOfShards(): Promise<string> {
    const folder = await scratchFolder()
    const names = (await readdir(join(fixtures, 'sharded'))).filter((name) => name.includes('safetensors'))
    for (const name of names) await copyFile(join(fixtures, 'sharded', name), join(folder, name))
    return folder
  }

  it('are refused when one is missing', async () => {
    const folder = await copyOfShards()
    await rm(join(folder, 'model-00002-of-00003.safetensors'))
    expect(await refusal(join(folder, 'model.safetensors.index.json'))).toMatch(
      /index names 3 shards, of which model-00002-of-00003\.safetensors is not in the folder; is the download complete/,
    )
  })

  it('are refused when one ends early', async () => {
    const folder = await copyOfShards()
    await truncate(join(folder, 'model-00003-of-00003.safetensors'), 3000)
    expect(await refusal(join(folder, 'model.safetensors.index.json'))).toMatch(
      /model-00003-of-00003\.safetensors: tensor ".*" ends at data byte \d+, but the file has \d+; is the download/,
    )
  })

  it.each([
    ['a path upwards', '../x.safetensors'],
    ['an absolute path', '/etc/x.safetensors'],
    ['a folder below', 'a/b.safetensors'],
    ['a Windows path', '..\\x.safetensors'],
    ['a drive', 'c:x.safetensors'],
    ['a line break', 'a\nb.safetensors'],
    ['a zero byte', 'x\0.safetensors'],
    ['another kind of file', 'passwd'],
    ['a hidden file', '.safetensors'],
  ])('are refused when the index names %s', async (_, shard) => {
    const path = join(await scratchFolder(), 'model.safetensors.index.json')
    await writeFile(path, JSON.stringify({ weight_map: { a: shard } }))
    expect(await refusal(path)).toMatch(
      /index names the shard ".*", expected the name of a .safetensors file in the same/,
    )
  })

  it.each([
    ['no object', '[]', 'starts with "[]", expected "{"'],
    ['nothing', '', 'starts with "", expected "{"'],
    ['broken JSON', '{"weight_map": {', 'is not JSON'],
    ['no weight_map', '{}', 'index: weight_map: expected an object of strings'],
    ['numbers for names', '{"weight_map": {"a": 1}}', 'index: weight_map: expected an object of strings'],
    ['no shards', '{"weight_map": {}}', 'names 0 shards, expected 1 to 1000'],
    ['two weight_maps', '{"weight_map": {}, "weight_map": {}}', 'has "weight_map" twice'],
  ])('are refused when the index holds %s', async (_, text, message) => {
    const path = join(await scratchFolder(), 'model.safetensors.index.json')
    await writeFile(path, text)
    expect(await refusal(path)).toContain(message)
  })

  it('are refused when a tensor is not where the index promises it', async () => {
    const folder = await scratchFolder()
    await writeFile(join(folder, 'a.safetensors'), rawFile({ one: f32(0, 4) }, 4))
    await writeFile(join(folder, 'b.safetensors'), rawFile({ two: f32(0, 4) }, 4))
    const index = join(folder, 'model.safetensors.index.json')
    await writeFile(index, JSON.stringify({ weight_map: { one: 'a.safetensors', two: 'a.safetensors' } }))
    expect(await refusal(index)).toContain('index promises tensor "two" in a.safetensors, found in no shard')
    await writeFile(index, JSON.stringify({ weight_map: { one: 'b.safetensors', two: 'a.safetensors' } }))
    expect(await refusal(index)).toContain('index promises tensor "one" in b.safetensors, found in a.safetensors')
  })

  it('are refused when two hold the same tensor', async () => {
    const folder = await scratchFolder()
    for (const name of ['a', 'b']) await writeFile(join(folder, `${name}.safetensors`), rawFile({ one: f32(0, 4) }, 4))
    const index = join(folder, 'model.safetensors.index.json')
    await writeFile(index, JSON.stringify({ weight_map: { one: 'a.safetensors', two: 'b.safetensors' } }))
    expect(await refusal(index)).toContain('b.safetensors: tensor "one" is also in a.safetensors')
  })
})

describe('a damaged or hostile file', () => {
  it('is refused when it is missing, a folder, or too short', async () => {
    const folder = await scratchFolder()
    expect(await refusal(join(folder, 'none.safetensors'))).toContain('cannot be opened')
    expect(await refusal(folder)).toContain('is not a plain file')
    const path = join(folder, 'short.safetensors')
    await writeFile(path, new Uint8Array(7))
    expect(await refusal(path)).toContain('has 7 bytes, expected at least the 8')
  })

  it.each([
    [
      'more than a file can have',
      2n ** 64n - 1n,
      'header length is 18446744073709551615 bytes, expected at most 100000000',
    ],
    ['above the limit', 100_000_001n, 'header length is 100000001 bytes, expected at most 100000000'],
    ['beyond the end', 93n, 'header of 93 bytes goes beyond the file of 100'],
    ['nothing', 0n, 'header starts with "", expected "{"'],
  ])('is refused when the header length is %s', async (_, length, message) => {
    const path = join(await scratchFolder(), 'model.safetensors')
    const file = new Uint8Array(100).fill(0x20)
    new DataView(file.buffer).setBigUint64(0, length, true)
    await writeFile(path, file)
    expect(await refusal(path)).toContain(message)
  })

  it.each<[string, unknown, number, string | RegExp]>([
    ['is not JSON', '{"a": }', 0, 'header is not JSON'],
    ['is a list', '[1]', 0, 'header starts with "[1]", expected "{"'],
    ['starts with a space', ' {}', 0, 'header starts with " {}", expected "{"'],
    ['nests deeply', `{"a":${'['.repeat(100_000)}`, 0, 'header nests deeper than 4 levels'],
    ['has millions of values', `{"a":[${'[],'.repeat(5_000_000)}[]]}`, 0, 'header has more than 4000000 values'],
    ['has a name twice', '{"a":{"dtype":"U8","shape":[0],"data_offsets":[0,0]},"\\u0061":{}}', 0, 'has "a" twice'],
    ['has a number for a tensor', { a: 1 }, 0, 'tensor "a": expected object, received number'],
    ['has null for a tensor', { a: null }, 0, 'tensor "a": expected object, received null'],
    ['has no type', { a: { shape: [], data_offsets: [0, 0] } }, 0, 'tensor "a": dtype: expected string'],
    ['has a number for a type', { a: { dtype: 1, shape: [], data_offsets: [0, 0] } }, 0, 'dtype: expected string'],
    ['has no shape', { a: { dtype: 'F32', data_offsets: [0, 0] } }, 0, 'tensor "a": shape: expected array'],
    ['has a text for a dimension', { a: f32(0, 4, ['1']) }, 4, 'tensor "a": shape.0: expected number, received string'],
    ['has a negative dimension', { a: f32(0, 4, [-1]) }, 4, /tensor "a": shape\.0: .*>=0/],
    ['has half a dimension', { a: f32(0, 4, [0.5]) }, 4, 'tensor "a": shape.0: expected int'],
    ['has an endless dimension', '{"a":{"dtype":"F32","shape":[1e999],"data_offsets":[0,4]}}', 4, 'shape.0: expected'],
    ['has a dimension of 2^53', { a: f32(0, 4, [2 ** 53]) }, 4, /shape\.0: Too big/],
    ['has 17 dimensions', { a: f32(0, 4, Array(17).fill(1)) }, 4, /shape: Too big/],
    ['has a shape that overflows', { a: f32(0, 4, [2 ** 32, 2 ** 32, 2 ** 32]) }, 4, 'expected more than any file has'],
    [
      'has a shape that wraps to 4 bytes in 64 bits',
      { a: f32(0, 4, [2 ** 31 + 1, 2 ** 31, 2]) },
      4,
      'than any file has',
    ],
    ['has a shape larger than its bytes', { a: f32(0, 4, [2]) }, 4, 'has 4 bytes, expected 8 for F32 [2]'],
    ['has a shape smaller than its bytes', { a: f32(0, 8, [1]) }, 8, 'has 8 bytes, expected 4 for F32 [1]'],
    ['has one offset', { a: { dtype: 'U8', shape: [0], data_offsets: [0] } }, 0, 'data_offsets'],
    ['has three offsets', { a: { dtype: 'U8', shape: [0], data_offsets: [0, 0, 0] } }, 0, 'data_offsets'],
    ['has a negative offset', { a: f32(-4, 0, [1]) }, 4, 'data_offsets.0'],
    ['has offsets backwards', { a: f32(4, 0, [1]) }, 4, 'has data_offsets [4, 0], expected begin ≤ end'],
    ['has offsets beyond the file', { a: f32(0, 8) }, 4, 'ends at data byte 8, but the file has 4'],
    ['has offsets beyond 2^53', { a: f32(0, 2 ** 53, [1]) }, 4, 'data_offsets.1'],
    ['has overlapping tensors', { a: f32(0, 8), b: f32(4, 12) }, 12, 'tensor "b" starts at data byte 4 and overlaps'],
    ['has the same bytes twice', { a: f32(0, 4), b: f32(0, 4) }, 4, 'starts at data byte 0 and overlaps'],
    ['has a gap', { a: f32(0, 4), b: f32(8, 12) }, 12, 'tensor "b" starts at data byte 8 and leaves a gap before it'],
    ['starts late', { a: f32(4, 8) }, 8, 'tensor "a" starts at data byte 4 and leaves a gap before it, expected 0'],
    ['has data after the tensors', { a: f32(0, 4) }, 5, /the tensors end at byte \d+, the file at \d+/],
    ['has no tensors, but data', {}, 1, /the tensors end at byte \d+, the file at \d+/],
    ['has metadata that is no text', { __metadata__: { format: 1 } }, 0, '__metadata__: expected an object of strings'],
    ['has metadata that is a list', { __metadata__: [] }, 0, '__metadata__: expected an object of strings'],
    ['has line breaks in a name', { 'a\nb\u2028c\u202ed': 1 }, 0, 'tensor "a\\nb\ufffdc\ufffdd": expected object'],
    ['has a name of a million letters', { ['x'.repeat(1e6)]: 1 }, 0, '…": expected object'],
  ])('is refused when its header %s', async (_, header, dataBytes, message) => {
    const found = await refusal(await writeRaw(header, dataBytes))
    if (typeof message === 'string') expect(found).toContain(message)
    else expect(found).toMatch(message)
  })

  it('is refused when its header is not UTF-8', async () => {
    const path = await writeRaw('{"a":"?"}')
    const bytes = await readFile(path)
    bytes[8 + 6] = 0xff
    await writeFile(path, bytes)
    expect(await refusal(path)).toContain('header is not UTF-8 text')
  })

  it('gets no special treatment for names that objects have', async () => {
    const entry = (i: number): string => `{"dtype":"F32","shape":[1],"data_offsets":[${4 * i},${4 * i + 4}]}`
    const names = ['__proto__', 'constructor', 'toString', 'hasOwnProperty']
    const store = await openSafetensors(await writeRaw(`{${names.map((n, i) => `"${n}":${entry(i)}`).join()}}`, 16))
    expect([...store.tensors.keys()]).toEqual(names)
    expect(Array.from(await store.read('__proto__'))).toEqual([0])
    await store.close()
  })

  it('is accepted without metadata, with spaces after the header, and with no tensors at all', async () => {
    for (const header of ['{}', '{}     ', '{"__metadata__":{"format":"pt"}}']) {
      const store = await openSafetensors(await writeRaw(header))
      expect(store.tensors.size).toBe(0)
      await store.close()
    }
  })
})
