import { writeFile } from 'node:fs/promises'
import { fileURLToPath } from 'node:url'
import { expect, it } from 'vitest'
import { CheckpointError } from '../../../src/errors.ts'
import { openGgufFile } from '../../../src/format/gguf/openGgufFile.ts'
import { RawGguf, writeScratch } from './rawGguf.ts'

const fixture = (name: string) => fileURLToPath(new URL(`../../fixtures/gguf/${name}`, import.meta.url))

async function refusal(path: string): Promise<string> {
  const started = performance.now()
  const error = await openGgufFile(path).then(
    async (file) => {
      await file.close()
      return undefined
    },
    (reason: unknown) => reason,
  )
  expect(error).toBeInstanceOf(CheckpointError)
  expect(performance.now() - started).toBeLessThan(1000)
  const { message } = error as CheckpointError
  expect(message).not.toContain('\n')
  return message
}

it('reads metadata with its types and tensors with their places', async () => {
  const path = await new RawGguf()
    .start(2, 5)
    .key('general.architecture', 'string')
    .string('llama')
    .key('llama.block_count', 'uint32')
    .uint32(7)
    .key('general.alignment', 'uint32')
    .uint32(64)
    .key('list', 'array')
    .uint32(8)
    .uint64(2)
    .string('a')
    .string('β')
    .key('big', 'uint64')
    .uint64(2n ** 60n)
    .tensor('m', [32, 2], 8, 0)
    .tensor('v', [3], 0, 128)
    .data(140, 64)
    .write()
  const file = await openGgufFile(path)
  expect(file.version).toBe(3)
  expect(file.alignment).toBe(64)
  expect([...file.metadata].map(([key, { value }]) => [key, value])).toEqual([
    ['general.architecture', { type: 'string', value: 'llama' }],
    ['llama.block_count', { type: 'uint32', value: 7 }],
    ['general.alignment', { type: 'uint32', value: 64 }],
    ['list', { type: 'array', elementType: 'string', value: ['a', 'β'] }],
    ['big', { type: 'uint64', value: 2n ** 60n }],
  ])
  const matrix = file.tensors.get('m')
  expect(matrix).toMatchObject({ type: 'Q8_0', shape: [2, 32], elements: 64, byteLength: 68 })
  expect((matrix?.position ?? 1) % 64).toBe(0)
  expect(file.tensors.get('v')?.position).toBe((matrix?.position ?? 0) + 128)
  await file.close()
})

it('gives a metadata entry back byte for byte', async () => {
  const path = await new RawGguf().start(0, 1).key('n', 'int16').raw(0xfe, 0xff).write()
  const file = await openGgufFile(path)
  expect(file.metadata.get('n')?.value).toEqual({ type: 'int16', value: -2 })
  expect([...(await file.readMetadataBytes('n'))]).toEqual([3, 0, 0, 0, 0xfe, 0xff])
  await expect(file.readMetadataBytes('m')).rejects.toThrow(CheckpointError)
  await file.close()
})

it('reads a header larger than its window', async () => {
  const long = 'x'.repeat(3_000_000)
  const writer = new RawGguf().start(0, 2).key('long', 'string').bytes
  const rest = new RawGguf().key('after', 'bool').raw(1).bytes
  const text = new TextEncoder().encode(long)
  const length = new RawGguf().uint64(text.length).bytes
  const file = await openGgufFile(await writeScratch(Buffer.concat([writer, length, text, rest])))
  expect(file.metadata.get('long')?.value.value).toBe(long)
  expect(file.metadata.get('after')?.value).toEqual({ type: 'bool', value: true })
  await file.close()
})

const gigantic = 2n ** 60n
const scalar = (file: RawGguf) => file.tensor('t', [1], 0, 0).data(4)

it.each<[what: string, file: RawGguf, message: RegExp]>([
  ['another kind of file', new RawGguf().raw(0x50, 0x4b, 3, 4, 0, 0, 0, 0), /starts with "PK.*expected "GGUF"/],
  ['an empty file', new RawGguf(), /ends at 0; is the download complete/],
  ['a version of the future', new RawGguf().raw(71, 71, 85, 70).uint32(9), /has GGUF version 9, expected 2 or 3/],
  ['version 1', new RawGguf().raw(71, 71, 85, 70).uint32(1), /has GGUF version 1, expected 2 or 3/],
  ['a big-endian file', new RawGguf().raw(71, 71, 85, 70, 0, 0, 0, 3), /big-endian, expected little-endian/],
  ['2^60 tensors', new RawGguf().start(gigantic, 0), /declares 1152921504606846976 tensors, expected at most 65536/],
  ['2^60 metadata entries', new RawGguf().start(0, gigantic), /declares 1152921504606846976 metadata entries/],
  [
    'more tensors than it holds',
    scalar(new RawGguf().start(60000, 0)),
    /takes \d+ bytes from byte|has .* dimensions|is not/,
  ],
  [
    'a key of 2^60 bytes',
    new RawGguf().start(0, 1).uint64(gigantic),
    /key of metadata entry 0 is 1152921504606846976 bytes/,
  ],
  [
    'a string longer than the file',
    new RawGguf().start(0, 1).key('k', 'string').uint64(1000),
    /metadata "k" takes 1000 bytes .* the file ends at/,
  ],
  [
    'a string of 2^60 bytes',
    new RawGguf().start(0, 1).key('k', 'string').uint64(gigantic),
    /metadata "k" is 1152921504606846976 bytes long, expected at most 16777216/,
  ],
  [
    'an unknown value type',
    new RawGguf().start(0, 1).string('k').uint32(13),
    /metadata "k" has value type 13, expected 0 to 12/,
  ],
  [
    'an array of 2^60 strings',
    new RawGguf().start(0, 1).key('k', 'array').uint32(8).uint64(gigantic),
    /declares 1152921504606846976 elements in metadata "k"/,
  ],
  [
    'an array of eight million floats that are not there',
    new RawGguf().start(0, 1).key('k', 'array').uint32(6).uint64(8_000_000),
    /metadata "k" takes 32000000 bytes/,
  ],
  ['nested arrays', new RawGguf().start(0, 1).key('k', 'array').uint32(9).uint64(1), /array of arrays/],
  ['text that is not UTF-8', new RawGguf().start(0, 1).key('k', 'string').uint64(2).raw(0xc3, 0x28), /not valid UTF-8/],
  [
    'a key twice',
    new RawGguf().start(0, 2).key('k', 'uint8').raw(1).key('k', 'uint8').raw(1),
    /metadata "k" appears twice/,
  ],
  [
    'an alignment of 3',
    new RawGguf().start(0, 1).key('general.alignment', 'uint32').uint32(3),
    /"general.alignment" is uint32 3, expected a uint32 power of two/,
  ],
  [
    'an alignment of 0',
    new RawGguf().start(0, 1).key('general.alignment', 'uint32').uint32(0),
    /is uint32 0, expected/,
  ],
  [
    'an alignment that is text',
    new RawGguf().start(0, 1).key('general.alignment', 'string').string('32'),
    /is string 32, expected/,
  ],
  [
    'five dimensions',
    new RawGguf().start(1, 0).tensor('t', [1, 1, 1, 1, 1], 0, 0),
    /has 5 dimensions, expected at most 4/,
  ],
  ['four billion dimensions', new RawGguf().start(1, 0).string('t').uint32(0xffffffff), /has 4294967295 dimensions/],
  [
    'an empty dimension',
    new RawGguf().start(1, 0).tensor('t', [4, 0], 0, 0),
    /has a dimension of 0, expected at least 1/,
  ],
  ['2^64 elements', new RawGguf().start(1, 0).tensor('t', [2n ** 32n, 2n ** 32n], 0, 0), /fewer than 2\^53 elements/],
  [
    'a tensor larger than the file',
    new RawGguf()
      .start(1, 0)
      .tensor('t', [2n ** 40n], 0, 0)
      .data(4),
    /tensor "t" ends at byte \d+, expected at most \d+, the size of the file/,
  ],
  [
    'a type we do not read',
    new RawGguf().start(1, 0).tensor('t', [256], 23, 0),
    /tensor "t" has type IQ4_XS, expected one of F32, F16, BF16, Q4_0, .*Q6_K/,
  ],
  ['a type nobody knows', new RawGguf().start(1, 0).tensor('t', [256], 999, 0), /has type number 999, expected one of/],
  [
    'rows that are not whole blocks',
    new RawGguf().start(1, 0).tensor('t', [48, 2], 2, 0),
    /rows of 48 Q4_0 values, expected a multiple of 32/,
  ],
  [
    'an offset that is not aligned',
    new RawGguf().start(1, 0).tensor('t', [1], 0, 4).data(64),
    /offset 4, expected a multiple of 32/,
  ],
  [
    'an offset of 2^63',
    new RawGguf()
      .start(1, 0)
      .tensor('t', [1], 0, 2n ** 63n)
      .data(64),
    /ends at byte 9223372036854\d+/,
  ],
  [
    'two tensors that share bytes',
    new RawGguf().start(2, 0).tensor('a', [16], 0, 0).tensor('b', [8], 0, 32).data(64),
    /tensor "b" starts at byte \d+, expected \d+ or later, where "a" ends/,
  ],
  [
    'a tensor twice',
    new RawGguf().start(2, 0).tensor('a', [1], 0, 0).tensor('a', [1], 0, 32).data(64),
    /tensor "a" appears twice/,
  ],
])('refuses %s in one line', async (_, file, message) => {
  expect(await refusal(await file.write())).toMatch(message)
})

it('refuses a header that goes on beyond any model, without reading it', async () => {
  // a sparse file: 20 strings of 16 MiB less 8 bytes, each allowed by itself
  const step = 2 ** 24
  const path = await writeScratch(new RawGguf().start(0, 1).key('k', 'array').uint32(8).uint64(1000).bytes)
  const start = 24 + 8 + 1 + 4 + 4 + 8
  const { open } = await import('node:fs/promises')
  const handle = await open(path, 'r+')
  for (let i = 0; i < 10; i++) await handle.write(new RawGguf().uint64(step - 8).bytes, 0, 8, start + i * step)
  await handle.truncate(2 ** 36)
  await handle.close()
  const before = process.memoryUsage().rss
  const error = await openGgufFile(path).catch((reason: unknown) => reason)
  expect(error).toBeInstanceOf(CheckpointError)
  expect((error as CheckpointError).message).toMatch(/expected a header of at most 134217728 bytes/)
  expect(process.memoryUsage().rss - before).toBeLessThan(2 ** 30)
})

it('says which file is missing', async () => {
  expect(await refusal(fixture('nothing.gguf'))).toMatch(/nothing\.gguf: cannot be opened/)
})

it('says where a file was cut', async () => {
  const path = await new RawGguf().start(1, 0).tensor('t', [64], 0, 0).data(100).write()
  expect(await refusal(path)).toMatch(
    /tensor "t" ends at byte \d+, expected at most \d+, the size of the file; is the download complete/,
  )
  await writeFile(path, new Uint8Array(20))
})
