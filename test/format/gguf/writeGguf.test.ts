import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { OutputError } from '../../../src/errors.ts'
import { dequantize } from '../../../src/format/gguf/dequantize.ts'
import type { GgufValue } from '../../../src/format/gguf/ggufValue.ts'
import { openGgufFile } from '../../../src/format/gguf/openGgufFile.ts'
import { type GgufTensorSource, writeGguf } from '../../../src/format/gguf/writeGguf.ts'
import { type EncodableType, quantize } from '../../../src/format/gguf/writeQuantized.ts'

const fixtures = join(import.meta.dirname, '../../fixtures/written')
let folder = ''
let values = new Float32Array(0)
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'gguf-'))
  const bytes = await readFile(join(fixtures, 'values.f32'))
  values = new Float32Array(new Uint8Array(bytes).buffer)
})
afterAll(() => rm(folder, { recursive: true }))

const matrix = (name: string, type: EncodableType): GgufTensorSource => ({
  name,
  type,
  shape: [6, 64],
  data: () => [quantize(type, values)],
})

/** As make_gguf.py writes it. */
const metadata = (): Map<string, GgufValue> =>
  new Map<string, GgufValue>([
    ['general.architecture', { type: 'string', value: 'llama' }],
    ['text', { type: 'string', value: 'Ünïcode ▁ text' }],
    ['count', { type: 'uint32', value: 7 }],
    ['negative', { type: 'int32', value: -7 }],
    ['ratio', { type: 'float32', value: 1e-5 }],
    ['exact', { type: 'float64', value: 0.1 }],
    ['large', { type: 'uint64', value: 2n ** 40n + 1n }],
    ['flag', { type: 'bool', value: true }],
    ['byte', { type: 'uint8', value: 200 }],
    ['names', { type: 'array', elementType: 'string', value: ['a', '', 'Ġthe'] }],
    ['counts', { type: 'array', elementType: 'int32', value: Int32Array.of(1, -2, 3) }],
  ])

const tensors = (): GgufTensorSource[] => [
  matrix('plain.weight', 'F32'),
  matrix('half.weight', 'F16'),
  matrix('brain.weight', 'BF16'),
  matrix('eight.weight', 'Q8_0'),
  matrix('four.weight', 'Q4_0'),
  { name: 'norm.weight', type: 'F32', shape: [5], data: () => [quantize('F32', values.slice(0, 5))] },
]

test('writes, byte for byte, the file that gguf-py writes of the same values', async () => {
  const path = join(folder, 'golden.gguf')
  const sizeBytes = await writeGguf(path, metadata(), tensors())
  const [written, golden] = [await readFile(path), await readFile(join(fixtures, 'golden.gguf'))]
  expect(written.equals(golden)).toBe(true)
  expect(sizeBytes).toBe(golden.length)
})

test('is read back as it was written', async () => {
  const path = join(folder, 'again.gguf')
  await writeGguf(path, metadata(), tensors())
  const file = await openGgufFile(path)
  try {
    expect(new Map([...file.metadata].map(([key, { value }]) => [key, value]))).toEqual(
      new Map(
        [...metadata()].map(([key, value]) => [
          key,
          key === 'ratio' ? { type: 'float32', value: Math.fround(1e-5) } : value,
        ]),
      ),
    )
    expect([...file.tensors.values()].map(({ name, type, shape }) => ({ name, type, shape }))).toEqual(
      tensors().map(({ name, type, shape }) => ({ name, type, shape })),
    )
    expect(Buffer.from((await file.readTensor('plain.weight')).buffer).equals(Buffer.from(values.buffer))).toBe(true)
  } finally {
    await file.close()
  }
})

test.each([
  ['Q8_0', 1 / 127 / 2 + 2 ** -11],
  // the code 16 that a value opposite to the largest would need is cut to 15
  ['Q4_0', 1 / 8 + 2 ** -11],
] as const)('rounds to %s within half a step of each block', (type, worst) => {
  const packed = quantize(type, values)
  const back = new Float32Array(values.length)
  dequantize(type, packed, back)
  for (let block = 0; block < values.length; block += 32) {
    const own = values.subarray(block, block + 32)
    const largest = Math.max(...own.map(Math.abs))
    // scales below the smallest normal half lose bits of their own: the second and the fourth row
    if (largest < 127 * 2 ** -14) continue
    for (const [i, value] of own.entries()) {
      expect(Math.abs(value - back[block + i]!)).toBeLessThanOrEqual(worst * largest)
    }
  }
})

test('takes pieces of any size and reports progress after each tensor', async () => {
  const seen: number[] = []
  const piecewise: GgufTensorSource = {
    name: 'plain.weight',
    type: 'F32',
    shape: [6, 64],
    async *data() {
      const bytes = quantize('F32', values)
      for (let i = 0; i < bytes.length; i += 100) yield bytes.subarray(i, i + 100)
    },
  }
  const path = join(folder, 'pieces.gguf')
  await writeGguf(path, new Map(), [piecewise, matrix('half.weight', 'F16')], {
    onProgress: (written, total) => seen.push(written, total),
  })
  expect(seen).toEqual([1536, 2304, 2304, 2304])
})

test('leaves nothing behind when a tensor comes with too few bytes', async () => {
  const short: GgufTensorSource = { name: 'w', type: 'F32', shape: [4], data: () => [new Uint8Array(12)] }
  const path = join(folder, 'short.gguf')
  await expect(writeGguf(path, new Map(), [short])).rejects.toThrow(OutputError)
  expect((await readdir(folder)).filter((name) => name.startsWith('short'))).toEqual([])
})

test('refuses rows that are no whole blocks and names given twice', async () => {
  const odd: GgufTensorSource = { name: 'w', type: 'Q8_0', shape: [2, 48], data: () => [] }
  await expect(writeGguf(join(folder, 'odd.gguf'), new Map(), [odd])).rejects.toThrow(/multiple of 32/)
  const twice = [matrix('w', 'F32'), matrix('w', 'F32')]
  await expect(writeGguf(join(folder, 'twice.gguf'), new Map(), twice)).rejects.toThrow(/twice/)
})
